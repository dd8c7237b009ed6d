//! How the cache took part in an answer.

use http::HeaderValue;

use crate::cache::Source;

/// How the cache took part in an answer (RFC 9211 for the client, one word for the access log).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// The cache was not asked.
    #[default]
    None,
    Memory,
    Disk,
    Miss,
    /// Another client's download was joined.
    Collapsed,
    /// No peer answers: what was known to be good is served.
    Stale,
    /// A peer was asked, and its answer not kept.
    Bypass,
}

impl CacheUse {
    /// The word in the access log.
    pub fn as_str(self) -> &'static str {
        match self {
            CacheUse::None => "",
            CacheUse::Memory => "hit_memory",
            CacheUse::Disk => "hit_disk",
            CacheUse::Miss => "miss",
            CacheUse::Collapsed => "collapsed",
            CacheUse::Stale => "stale",
            CacheUse::Bypass => "bypass",
        }
    }

    /// The `Cache-Status` field.
    pub fn field(self, proven: bool) -> Option<HeaderValue> {
        let text = match (self, proven) {
            (CacheUse::None, _) => return None,
            (CacheUse::Memory, _) => "entrepot; hit; detail=memory",
            (CacheUse::Disk, _) => "entrepot; hit; detail=disk",
            (CacheUse::Miss, true) => "entrepot; fwd=uri-miss; stored",
            // A range that ends before the last byte leaves before the digest is proven: ARCHITECTURE.md, "Invariants".
            (CacheUse::Miss, false) => "entrepot; fwd=uri-miss; stored; detail=unproven",
            (CacheUse::Collapsed, true) => "entrepot; fwd=uri-miss; collapsed",
            (CacheUse::Collapsed, false) => "entrepot; fwd=uri-miss; collapsed; detail=unproven",
            (CacheUse::Stale, _) => "entrepot; hit; detail=stale",
            (CacheUse::Bypass, _) => "entrepot; fwd=bypass",
        };
        Some(HeaderValue::from_static(text))
    }
}

impl From<Source> for CacheUse {
    fn from(source: Source) -> Self {
        match source {
            Source::Memory => CacheUse::Memory,
            Source::Disk => CacheUse::Disk,
            Source::Miss => CacheUse::Miss,
            Source::Collapsed => CacheUse::Collapsed,
        }
    }
}
