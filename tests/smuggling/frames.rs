//! HTTP/2 by the frame (RFC 9113, RFC 7541), to send what no library would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::PATIENCE;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const CONTINUATION: u8 = 9;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
const ACK: u8 = 1;

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Status(u16),
    Reset(u32),
    GoAway(u32),
    Closed,
}

/// A frame to be sent.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, payload: impl Into<Vec<u8>>) -> Frame {
        Frame { kind, flags, payload: payload.into() }
    }

    fn bytes(&self, stream: u32) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a small frame").to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// Fields as they are, each literal and none remembered.
pub fn block<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // Characters stand for bytes.
            let bytes: Vec<u8> = text.chars().map(|one| u8::try_from(u32::from(one)).expect("a byte")).collect();
            integer(bytes.len(), &mut block);
            block.extend(bytes);
        }
    }
    block
}

/// RFC 7541 §5.1, of seven bits.
fn integer(value: usize, block: &mut Vec<u8>) {
    let Some(mut rest) = value.checked_sub(127) else { return block.push(value as u8) };
    block.push(127);
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

pub struct Client {
    stream: TcpStream,
    next: u32,
}

impl Client {
    /// With a header table of nothing, so that each answer's fields are there to be read.
    pub fn open(address: SocketAddr) -> Client {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let settings = Frame::new(SETTINGS, 0, [0, 1, 0, 0, 0, 0]).bytes(0);
        stream.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..]].concat()).expect("a connection");
        Client { stream, next: 1 }
    }

    /// One stream of these frames, in one write.
    pub fn send(&mut self, frames: &[Frame]) -> Outcome {
        let stream = self.next;
        self.next += 2;
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes(stream)).collect();
        let _ = self.stream.write_all(&bytes);
        loop {
            let Some((kind, flags, at, payload)) = self.frame() else { return Outcome::Closed };
            match kind {
                SETTINGS if flags & ACK == 0 => self.reply(SETTINGS, Vec::new()),
                PING if flags & ACK == 0 => self.reply(PING, payload),
                GOAWAY => return Outcome::GoAway(number(&payload[4..8])),
                RESET if at == stream => return Outcome::Reset(number(&payload)),
                HEADERS if at == stream => match status(&payload) {
                    100..=199 => {}
                    status => return Outcome::Status(status),
                },
                _ => {}
            }
        }
    }

    fn reply(&mut self, kind: u8, payload: Vec<u8>) {
        let _ = self.stream.write_all(&Frame::new(kind, ACK, payload).bytes(0));
    }

    fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; number(&[0, head[0], head[1], head[2]]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some((head[3], head[4], number(&head[5..9]), payload))
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

/// The status, which is the first field: one of the static table, or digits.
fn status(block: &[u8]) -> u16 {
    // Behind what says how large the table is.
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).expect("a field");
    let (first, rest) = (block[start], &block[start + 1..]);
    if first & 0x80 != 0 {
        return [200, 204, 206, 304, 400, 404, 500][usize::from(first & 0x7f) - 8];
    }
    let index = if first & 0x40 != 0 { first & 0x3f } else { first & 0x0f };
    assert!((8..=14).contains(&index), "the first field is the status: {block:02x?}");
    let value = &rest[1..=usize::from(rest[0] & 0x7f)];
    let digits = if rest[0] & 0x80 != 0 { decoded(value) } else { String::from_utf8_lossy(value).into_owned() };
    digits.parse().expect("a status")
}

/// Three digits in Huffman's code (RFC 7541, appendix B): 0 to 2 have five bits, 3 to 9 six.
fn decoded(bytes: &[u8]) -> String {
    let bits: Vec<bool> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    let value = |at: usize, count: usize| bits[at..at + count].iter().fold(0, |all, bit| all << 1 | u8::from(*bit));
    let (mut at, mut digits) = (0, String::new());
    while digits.len() < 3 {
        let short = value(at, 5);
        let (digit, length) = if short <= 2 { (short, 5) } else { (value(at, 6) - 0x19 + 3, 6) };
        digits.push(char::from(b'0' + digit));
        at += length;
    }
    digits
}
