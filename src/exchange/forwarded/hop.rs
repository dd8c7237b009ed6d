//! One hop that a proxy tells of.

use super::node::Node;
use crate::oci::Host;

/// What one proxy saw: who came to it, by which scheme, asking for which host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    pub node: Node,
    pub https: Option<bool>,
    pub host: Option<String>,
}

/// Another scheme than these two says nothing that we can use.
pub fn scheme(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("https") => Some(true),
        _ if text.eq_ignore_ascii_case("http") => Some(false),
        _ => None,
    }
}

pub fn host(text: &str) -> Option<String> {
    text.parse::<Host>().is_ok().then(|| text.to_owned())
}
