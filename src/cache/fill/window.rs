//! The newest bytes of a fill, in memory: followers that keep up share them without a copy or a system call.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::cache::disk::trailer::BLOCK;

/// Kept behind the newest byte when there is a file to read the rest from; at most one chunk more.
const KEPT: u64 = 256 << 10;

/// The bytes `start..end`.
#[derive(Default)]
pub(in crate::cache) struct Window {
    start: u64,
    end: u64,
    /// With the offset of each part's first byte.
    parts: VecDeque<(u64, Bytes)>,
}

impl Window {
    pub(in crate::cache) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        let at = self.end;
        self.end += bytes.len() as u64;
        self.parts.push_back((at, bytes));
    }

    /// Drops the oldest parts. What is left begins no later than the last incomplete block, which only we can serve.
    pub(super) fn trim(&mut self) {
        let block = BLOCK as u64;
        let needed = (self.end / block * block).min(self.end.saturating_sub(KEPT));
        while let Some((at, bytes)) = self.parts.front() {
            let next = at + bytes.len() as u64;
            if next > needed {
                break;
            }
            self.start = next;
            self.parts.pop_front();
        }
    }

    pub(super) fn clear(&mut self) {
        self.start = self.end;
        self.parts = VecDeque::new();
    }

    /// What begins at `at`, up to `limit`; `None` when that is not (or no longer) here.
    pub(in crate::cache) fn slice(&self, at: u64, limit: u64) -> Option<Bytes> {
        let limit = limit.min(self.end);
        if at < self.start || at >= limit {
            return None;
        }
        let after = self.parts.partition_point(|(start, _)| *start <= at);
        let (start, bytes) = self.parts.get(after.checked_sub(1)?)?;
        let from = (at - start) as usize; // within a part
        let until = ((limit - start) as usize).min(bytes.len());
        Some(bytes.slice(from..until))
    }

    /// All parts from `at` on.
    pub(in crate::cache) fn rest(&self, mut at: u64) -> VecDeque<Bytes> {
        let mut rest = VecDeque::new();
        while let Some(bytes) = self.slice(at, self.end) {
            at += bytes.len() as u64;
            rest.push_back(bytes);
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trimmed_window_keeps_the_incomplete_block_and_its_bytes_are_right() {
        let data: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let mut window = Window::default();
        for part in data.chunks(100_001) {
            window.push(Bytes::copy_from_slice(part));
            window.trim();
            assert!(window.start <= window.end / BLOCK as u64 * BLOCK as u64);
            assert!(window.end - window.start <= KEPT + 2 * 100_001);
        }
        assert_eq!(window.slice(0, 10), None);
        assert_eq!(window.slice(window.end, u64::MAX), None);
        let from = window.start + 12_345;
        let rest: Vec<u8> = window.rest(from).into_iter().flatten().collect();
        assert_eq!(rest, data[from as usize..]);
        assert_eq!(window.slice(from, from + 3).unwrap(), data[from as usize..][..3]);
    }
}
