//! The words of the OCI specifications as values: parsed once at the door, passed after. No I/O, no async.

pub mod action;
pub mod conditional;
pub mod content_range;
pub mod descriptor;
pub mod digest;
pub mod error_code;
pub mod host;
pub mod image;
pub mod manifest;
pub mod media_type;
pub mod name;
pub mod pagination;
pub mod range;
pub mod reference;

pub use action::{Action, ActionError, Resource};
pub use content_range::ContentRange;
pub use descriptor::{Annotations, Descriptor};
pub use digest::{Algorithm, Digest, DigestError, Hasher, STATE_FORMAT};
pub use error_code::{ErrorCode, error_body};
pub use host::{Host, HostError};
pub use image::{ImageName, ImageNameError};
pub use manifest::{Manifest, ManifestError};
pub use media_type::AcceptClass;
pub use name::{NameError, RepositoryName};
pub use pagination::{Page, PageError};
pub use range::RangeRequest;
pub use reference::{Reference, ReferenceError, Tag};
