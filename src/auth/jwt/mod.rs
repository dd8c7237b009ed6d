//! Signed tokens (RFC 7515, RFC 7519): what is strict about them, and what they are signed with. `jsonwebtoken` reads and writes
//! them; which algorithms and keys there are, is said here.

pub mod keys;
pub mod provider;
pub mod strict;
pub mod verify;

#[cfg(test)]
pub mod forge;
