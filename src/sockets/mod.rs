//! Listening sockets, of TCP and in the file system: opened, inherited of a service manager, and handed on from one process to
//! the next.
//!
//! Does not know who answers at them. [`Socket`] is one that listens; [`Inherited`] are those that were open before this process
//! began; [`Channel`] carries them, and words, between two processes of one user.

mod address;
mod channel;
mod file;
mod inherited;
mod socket;

pub use address::Address;
pub use channel::{Channel, Door, Peer};
pub use file::{OTHERS_MAY_NOT, make_folder_of};
pub use inherited::{Inherited, Role, Told};
pub use socket::{Accepted, Socket};
