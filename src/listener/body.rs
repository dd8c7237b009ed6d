//! Decodes the body of an HTTP/1 request (RFC 9112 §6, §7), and knows where it ends.

use bytes::{Buf, Bytes, BytesMut};

use super::head::is_token;

/// How a request head frames its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// What is next of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Never empty.
    Content(Bytes),
    /// More has to come before anything can be said.
    More,
    End,
    Broken,
}

#[derive(Debug)]
pub(super) enum Body {
    Length(u64),
    Chunked {
        chunk: Chunk,
        /// Bytes of framing since the last content.
        framing: usize,
    },
}

/// Where we are in a chunked body.
#[derive(Debug)]
pub(super) enum Chunk {
    /// In the line that gives the size.
    Size {
        size: u64,
        digits: u32,
        part: Line,
    },
    Data(u64),
    /// After the data: CR, LF still to come.
    DataEnd {
        cr: bool,
    },
    /// After the last chunk: fields up to an empty line.
    Trailer(Field),
    Done,
    /// Not chunked coding.
    Broken,
}

/// Where we are in the line of a chunk's size and its extensions (RFC 9112 §7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Digits,
    /// White space, behind which another extension has to begin.
    Gap,
    NameStart,
    Name,
    NameGap,
    ValueStart,
    Value,
    Quoted,
    Escaped,
    QuotedEnd,
    Cr,
}

impl Line {
    /// The next place in an extension; `None` where the grammar has none.
    fn step(self, byte: u8) -> Option<Line> {
        let (space, token) = (matches!(byte, b' ' | b'\t'), is_token(&[byte]));
        match (self, byte) {
            (Line::Digits | Line::Gap | Line::Name | Line::NameGap | Line::Value | Line::QuotedEnd, b';') => {
                Some(Line::NameStart)
            }
            (Line::Digits | Line::Name | Line::Value | Line::QuotedEnd, b'\r') => Some(Line::Cr),
            (Line::Digits | Line::Gap | Line::Value | Line::QuotedEnd, _) if space => Some(Line::Gap),
            (Line::NameStart | Line::Name, _) if token => Some(Line::Name),
            (Line::NameStart, _) if space => Some(Line::NameStart),
            (Line::Name | Line::NameGap, b'=') => Some(Line::ValueStart),
            (Line::Name | Line::NameGap, _) if space => Some(Line::NameGap),
            (Line::ValueStart, b'"') => Some(Line::Quoted),
            (Line::ValueStart | Line::Value, _) if token => Some(Line::Value),
            (Line::ValueStart, _) if space => Some(Line::ValueStart),
            (Line::Quoted, b'"') => Some(Line::QuotedEnd),
            (Line::Quoted, b'\\') => Some(Line::Escaped),
            (Line::Quoted | Line::Escaped, _) if is_text(byte) => Some(Line::Quoted),
            _ => None,
        }
    }
}

/// Where we are in a line of the trailer (RFC 9112 §7.1.2): pingora reads over them whatever they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Start,
    Name,
    Value,
    Cr,
    /// The CR of the empty line that ends it all.
    LastCr,
}

const START: Chunk = Chunk::Size { size: 0, digits: 0, part: Line::Digits };
/// Bytes of one chunk's line, or of the trailer: nobody sends extensions or trailers of this size.
const MAX_FRAMING: usize = 16 << 10;
/// A longer size does not fit 60 bits.
const MAX_DIGITS: u32 = 15;

impl Body {
    pub(super) fn new(framing: Framing) -> Body {
        match framing {
            Framing::None => Body::Length(0),
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked { chunk: START, framing: 0 },
        }
    }

    /// The whole body has passed.
    pub(super) fn done(&self) -> bool {
        matches!(self, Body::Length(0) | Body::Chunked { chunk: Chunk::Done, .. })
    }

    /// Takes the next piece of content from what came; framing is passed over.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Piece {
        match self {
            Body::Length(0) => Piece::End,
            Body::Length(left) => match split(left, input) {
                Some(bytes) => Piece::Content(bytes),
                None => Piece::More,
            },
            Body::Chunked { chunk, framing } => chunk.take(input, framing),
        }
    }
}

/// Up to `left` bytes of what came.
fn split(left: &mut u64, input: &mut BytesMut) -> Option<Bytes> {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= taken as u64;
    (taken > 0).then(|| input.split_to(taken).freeze())
}

impl Chunk {
    fn take(&mut self, input: &mut BytesMut, framing: &mut usize) -> Piece {
        loop {
            match self {
                Chunk::Done => return Piece::End,
                Chunk::Broken => return Piece::Broken,
                Chunk::Data(left) => {
                    let bytes = split(left, input);
                    *framing = 0;
                    if *left == 0 {
                        *self = Chunk::DataEnd { cr: false };
                    }
                    return bytes.map_or(Piece::More, Piece::Content);
                }
                _ => {
                    let Some(&byte) = input.first() else { return Piece::More };
                    self.step(byte);
                    input.advance(1);
                    *framing += 1;
                    if *framing > MAX_FRAMING {
                        *self = Chunk::Broken;
                    }
                }
            }
        }
    }

    /// One byte of framing.
    fn step(&mut self, byte: u8) {
        *self = match (&*self, byte) {
            (Chunk::Size { size, digits, part: Line::Digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = u64::from((byte as char).to_digit(16).unwrap_or(0));
                match digits {
                    &MAX_DIGITS => Chunk::Broken,
                    _ => Chunk::Size { size: size << 4 | digit, digits: digits + 1, part: Line::Digits },
                }
            }
            (Chunk::Size { digits: 0, .. }, _) => Chunk::Broken,
            (&Chunk::Size { size, part: Line::Cr, .. }, b'\n') => match size {
                0 => Chunk::Trailer(Field::Start),
                _ => Chunk::Data(size),
            },
            (&Chunk::Size { size, digits, part }, _) => {
                part.step(byte).map_or(Chunk::Broken, |part| Chunk::Size { size, digits, part })
            }
            (Chunk::DataEnd { cr: false }, b'\r') => Chunk::DataEnd { cr: true },
            (Chunk::DataEnd { cr: true }, b'\n') => START,
            (Chunk::Trailer(Field::LastCr), b'\n') => Chunk::Done,
            (Chunk::Trailer(field), _) => field.step(byte).map_or(Chunk::Broken, Chunk::Trailer),
            _ => Chunk::Broken,
        };
    }
}

impl Field {
    fn step(self, byte: u8) -> Option<Field> {
        match (self, byte) {
            (Field::Start, b'\r') => Some(Field::LastCr),
            (Field::Start | Field::Name, _) if is_token(&[byte]) => Some(Field::Name),
            (Field::Name, b':') => Some(Field::Value),
            (Field::Value, b'\r') => Some(Field::Cr),
            (Field::Value, _) if is_text(byte) => Some(Field::Value),
            (Field::Cr, b'\n') => Some(Field::Start),
            _ => None,
        }
    }
}

/// What a field's value and a chunk's extension may hold (RFC 9110 §5.5).
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that comes of `input`, the bytes that are left of it, and whether the body ended.
    fn read(body: &mut Body, input: &mut BytesMut) -> (Vec<u8>, bool) {
        let mut content = Vec::new();
        loop {
            match body.take(input) {
                Piece::Content(bytes) => content.extend_from_slice(&bytes),
                Piece::More => return (content, false),
                Piece::End => return (content, true),
                Piece::Broken => return (content, false),
            }
        }
    }

    /// How many bytes of `input` belong to the body, and whether it ended, however the input is cut.
    fn ends_at(framing: Framing, input: &[u8]) -> (usize, bool) {
        let (mut whole, mut rest) = (Body::new(framing), BytesMut::from(input));
        let expected = read(&mut whole, &mut rest);
        for cut in 0..input.len() {
            let (mut body, mut first) = (Body::new(framing), BytesMut::from(&input[..cut]));
            let (mut content, mut ended) = read(&mut body, &mut first);
            if !ended {
                assert!(first.is_empty(), "cut at {cut}");
                let mut second = BytesMut::from(&input[cut..]);
                let more = read(&mut body, &mut second);
                content.extend(more.0);
                ended = more.1;
                assert_eq!(second, rest, "cut at {cut}");
            }
            assert_eq!((content, ended), expected, "cut at {cut}");
        }
        assert_eq!(whole.done(), expected.1);
        (input.len() - rest.len(), expected.1)
    }

    #[test]
    fn the_content_of_chunks_is_what_is_in_them() {
        let mut input = BytesMut::from(&b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\nnext"[..]);
        assert_eq!(read(&mut Body::new(Framing::Chunked), &mut input), (b"abcde".to_vec(), true));
        assert_eq!(input, "next");
    }

    #[test]
    fn a_length_ends_where_it_says() {
        assert_eq!(ends_at(Framing::Length(5), b"helloGET /"), (5, true));
        assert_eq!(ends_at(Framing::Length(5), b"hell"), (4, false));
        assert_eq!(ends_at(Framing::None, b"GET /"), (0, true));
    }

    #[test]
    fn a_chunked_body_ends_after_its_trailers() {
        assert_eq!(ends_at(Framing::Chunked, b"5\r\nhello\r\n0\r\n\r\nGET /"), (15, true));
        assert_eq!(ends_at(Framing::Chunked, b"00a;x=\"y\"\r\n0123456789\r\n0\r\nA: b\r\nC: d\r\n\r\nX"), (40, true));
        assert_eq!(ends_at(Framing::Chunked, b"5\r\nhello\r\n0\r\n"), (13, false));
    }

    #[test]
    fn framing_without_end_is_broken() {
        for (start, more) in [("5;a=", "b"), ("0\r\n", "A: b\r\n")] {
            let (mut body, mut bytes) = (Body::new(Framing::Chunked), BytesMut::from(start));
            bytes.extend_from_slice(more.repeat(MAX_FRAMING).as_bytes());
            read(&mut body, &mut bytes);
            assert_eq!(body.take(&mut bytes), Piece::Broken, "{start}");
        }
        let many = format!("{}0\r\n\r\n", "1;a=b\r\nx\r\n".repeat(MAX_FRAMING));
        let (content, ended) = read(&mut Body::new(Framing::Chunked), &mut BytesMut::from(many.as_bytes()));
        assert!(ended && content.len() == MAX_FRAMING);
    }

    #[test]
    fn extensions_are_passed_over() {
        for line in ["5;a", "5;a=b", "5 ; a = b", "5\t;a=\"b;\\\"c\";d", "05;a=b;c=\"\"", "5;a ;b"] {
            let input = format!("{line}\r\nhello\r\n0;z\r\n\r\n");
            let mut bytes = BytesMut::from(input.as_bytes());
            assert_eq!(read(&mut Body::new(Framing::Chunked), &mut bytes), (b"hello".to_vec(), true), "{line}");
        }
    }

    #[test]
    fn what_is_not_chunked_never_ends() {
        for input in [
            &b"5\nhello\n0\n\n"[..],
            b"\r\n\r\n",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"0\r\n\n",
            b"ffffffffffffffff\r\n",
            b"0x5\r\n",
            b"10000000000000000\r\n",
            b"5 \r\nhello",
            b"5 x\r\nhello",
            b"5;\r\nhello",
            b"5;;\r\nhello",
            b"5;=b\r\nhello",
            b"5;a=\r\nhello",
            b"5;a b\r\nhello",
            b"5;a=b c\r\nhello",
            b"5;a=\"b\r\nhello",
            b"0 \r\n\r\n",
            b"5;a\0b\r\nhello\r\n0\r\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\nnothing\r\n\r\n",
            b"0\r\n: no name\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\nA: b\r\n folded\r\n\r\n",
            b"0\r\n\x80: b\r\n\r\n",
            b"0\r\nA: b\0\r\n\r\n",
            b"0\r\nA: b\n\r\n\r\n",
            b"0\r\nA: b\r\n\n",
            b"0\r\nA\r\n\r\n",
        ] {
            let (mut body, mut bytes) = (Body::new(Framing::Chunked), BytesMut::from(input));
            read(&mut body, &mut bytes);
            assert_eq!(body.take(&mut bytes), Piece::Broken, "{:?}", String::from_utf8_lossy(input));
            assert!(!body.done());
        }
    }
}
