//! What a quota counts.

use serde::{Deserialize, Serialize};

/// Bytes and tags, each for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    #[serde(default)]
    pub bytes: u64,
    #[serde(default)]
    pub tags: u64,
}

impl Amount {
    pub(super) const NOTHING: Amount = Amount { bytes: 0, tags: 0 };

    pub(super) const fn bytes(bytes: u64) -> Self {
        Amount { bytes, tags: 0 }
    }

    pub(super) fn plus(self, more: Self) -> Self {
        Amount { bytes: self.bytes.saturating_add(more.bytes), tags: self.tags.saturating_add(more.tags) }
    }

    /// Nothing where there is less.
    pub(super) fn minus(self, less: Self) -> Self {
        Amount { bytes: self.bytes.saturating_sub(less.bytes), tags: self.tags.saturating_sub(less.tags) }
    }

    pub(super) fn at_most(self, other: Self) -> Self {
        Amount { bytes: self.bytes.min(other.bytes), tags: self.tags.min(other.tags) }
    }

    pub(super) fn at_least(self, other: Self) -> Self {
        Amount { bytes: self.bytes.max(other.bytes), tags: self.tags.max(other.tags) }
    }

    /// Whether both are within.
    pub(super) fn fits(self, room: Self) -> bool {
        self.bytes <= room.bytes && self.tags <= room.tags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_for_itself_and_neither_goes_below_nothing() {
        let (one, other) = (Amount { bytes: 5, tags: 1 }, Amount { bytes: 3, tags: 2 });
        assert_eq!(one.plus(other), Amount { bytes: 8, tags: 3 });
        assert_eq!(one.minus(other), Amount { bytes: 2, tags: 0 });
        assert_eq!(
            (one.at_most(other), one.at_least(other)),
            (Amount { bytes: 3, tags: 1 }, Amount { bytes: 5, tags: 2 })
        );
        assert!(!one.fits(other) && !other.fits(one) && one.at_most(other).fits(one));
        assert_eq!(Amount::bytes(u64::MAX).plus(Amount::bytes(1)), Amount::bytes(u64::MAX));
    }
}
