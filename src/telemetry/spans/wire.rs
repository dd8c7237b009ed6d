//! Protobuf as bytes: the few forms that OTLP has. Messages are written once and whole, so nothing is made of them in between.

/// How a field's value is written.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// A message that is being written. A field with its type's own value (0, nothing) is left out, as protobuf does it.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn number(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.key(field, VARINT);
            self.varint(value);
        }
    }

    pub(super) fn fixed_64(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.key(field, FIXED_64);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub(super) fn fixed_32(&mut self, field: u64, value: u32) {
        if value != 0 {
            self.key(field, FIXED_32);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub(super) fn bytes(&mut self, field: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.always(field, bytes);
        }
    }

    /// A message within this one; it is there even if it says nothing.
    pub(super) fn message(&mut self, field: u64, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.always(field, &inner.0);
    }

    /// One of several forms that a value may have: it is there even if it is 0 or empty, since its number says which form it is.
    pub(super) fn one_of_number(&mut self, field: u64, value: i64) {
        self.key(field, VARINT);
        self.varint(value.cast_unsigned());
    }

    pub(super) fn one_of_text(&mut self, field: u64, text: &str) {
        self.always(field, text.as_bytes());
    }

    fn always(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn key(&mut self, field: u64, form: u64) {
        self.varint((field << 3) | form);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The value of a field that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message that somebody else wrote, one after the other; ends at what is none.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Read<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match key & 7 {
            VARINT => Read::Number(self.varint()?),
            FIXED_64 => Read::Bytes(self.take(8)?),
            FIXED_32 => Read::Bytes(self.take(4)?),
            BYTES => {
                let length = usize::try_from(self.varint()?).ok()?;
                Read::Bytes(self.take(length)?)
            }
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut message = Message::default();
        message.number(1, 300);
        message.number(2, 0);
        message.bytes(3, b"abc");
        message.fixed_64(4, 1);
        message.fixed_32(16, 2);
        message.message(5, |inner| inner.one_of_number(3, -1));
        message.one_of_text(6, "");
        let bytes = message.into_bytes();
        let all: Vec<_> = Fields(&bytes).collect();
        let minus = [0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(
            all,
            [
                (1, Read::Number(300)),
                (3, Read::Bytes(b"abc")),
                (4, Read::Bytes(&[1, 0, 0, 0, 0, 0, 0, 0])),
                (16, Read::Bytes(&[2, 0, 0, 0])),
                (5, Read::Bytes(&minus)),
                (6, Read::Bytes(b"")),
            ]
        );
    }

    #[test]
    fn what_is_no_message_ends_the_reading() {
        for bytes in [&[0x08][..], &[0x0a, 0x05, 0x01], &[0xff; 12], &[0x0b], &[0x09, 1]] {
            assert_eq!(Fields(bytes).next(), None, "{bytes:?}");
        }
    }
}
