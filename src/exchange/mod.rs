//! One request and its answer, whoever makes it: what is known of the request (`context`, `forwarded`, `via`), its body
//! (`request_body`), and how an answer leaves (`fields`, `respond`, `content` with ranges and conditions, `local_file`). Asks no peers and
//! knows no routes.

pub mod content;
pub mod context;
pub mod fields;
pub mod forwarded;
pub mod realm;
pub mod request_body;
pub mod respond;
pub use crate::outbound::via;

mod cache_use;
mod local_file;

pub use cache_use::CacheUse;
pub use context::RequestContext;
pub use local_file::LocalFile;
