//! The words of the OCI specifications as values: parsed once at the door, passed after. No I/O, no async.

pub mod conditional;
pub mod digest;
pub mod error_code;
pub mod host;
pub mod media_type;
pub mod name;
pub mod range;
pub mod reference;
pub mod route;

pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use error_code::{ErrorCode, error_body};
pub use host::{Host, HostError};
pub use media_type::AcceptClass;
pub use name::{NameError, RepositoryName};
pub use range::RangeRequest;
pub use reference::{Reference, ReferenceError, Tag};
pub use route::{Route, RouteError};
