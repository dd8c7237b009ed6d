//! Tokens of our own: keys, what stands in a token, giving and checking them.

mod claims;
mod grants;
mod keys;
mod scope;
mod sign;
mod signing;

pub use claims::{Access, Claims, Subject};
pub use grants::Grants;
pub use keys::KeySet;
pub use scope::Scope;
pub use sign::{Minted, Refused, read_claims};
pub use signing::NoKeys;
pub use signing::Signing;
