//! The PROXY protocol, versions 1 and 2: who the client of a load balancer is.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;

use super::socket::Socket;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const PREFIX_1: &[u8] = b"PROXY ";
/// Longest header of version 1, as its specification says.
const MAX_1: usize = 107;
/// Fixed part of version 2.
const FIXED_2: usize = 16;
/// Longest header of version 2 that we take: its addresses and 4 KiB of extensions.
const MAX_2: usize = FIXED_2 + 216 + (4 << 10);

/// Client and server of the connection that a balancer hands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) client: SocketAddr,
    pub(super) local: SocketAddr,
}

/// Reads the header, and leaves what came after it to the next reader of `socket`. `None` when
/// the balancer speaks for itself (LOCAL, UNKNOWN): the socket's own addresses hold.
///
/// # Errors
/// `InvalidData` for anything that is not a PROXY header; the connection must be closed.
pub(super) async fn receive(socket: &mut Socket) -> io::Result<Option<Addresses>> {
    let mut bytes = BytesMut::with_capacity(256);
    loop {
        if let Some(length) = header_length(&bytes)? {
            let header = bytes.split_to(length);
            socket.replay(bytes);
            return parse(&header);
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The length of the header at the start of `bytes`, once all of it is there.
fn header_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let begins = |prefix: &[u8]| prefix.starts_with(bytes) || bytes.starts_with(prefix);
    if begins(SIGNATURE) {
        let &[high, low] = bytes.get(FIXED_2 - 2..FIXED_2).unwrap_or_default() else { return Ok(None) };
        let length = FIXED_2 + usize::from(u16::from_be_bytes([high, low]));
        return match length {
            0..=MAX_2 => Ok((bytes.len() >= length).then_some(length)),
            _ => Err(invalid("the PROXY header is too long")),
        };
    }
    if !begins(PREFIX_1) {
        return Err(invalid("no PROXY header"));
    }
    match memchr::memchr(b'\n', bytes.get(..MAX_1).unwrap_or(bytes)) {
        Some(end) => Ok(Some(end + 1)),
        None if bytes.len() >= MAX_1 => Err(invalid("the PROXY header is too long")),
        None => Ok(None),
    }
}

fn parse(header: &[u8]) -> io::Result<Option<Addresses>> {
    if header.starts_with(SIGNATURE) { parse_2(header) } else { parse_1(header) }
}

fn parse_1(header: &[u8]) -> io::Result<Option<Addresses>> {
    use ppp::v1::{Addresses as Found, Header};
    let header = Header::try_from(header).map_err(|_| invalid("the PROXY header is malformed"))?;
    Ok(match header.addresses {
        Found::Unknown => None,
        Found::Tcp4(found) => Some(Addresses {
            client: (found.source_address, found.source_port).into(),
            local: (found.destination_address, found.destination_port).into(),
        }),
        Found::Tcp6(found) => Some(Addresses {
            client: (found.source_address, found.source_port).into(),
            local: (found.destination_address, found.destination_port).into(),
        }),
    })
}

fn parse_2(header: &[u8]) -> io::Result<Option<Addresses>> {
    use ppp::v2::{Addresses as Found, Command, Header};
    let header = Header::try_from(header).map_err(|_| invalid("the PROXY header is malformed"))?;
    Ok(match (header.command, header.addresses) {
        (Command::Proxy, Found::IPv4(found)) => Some(Addresses {
            client: (found.source_address, found.source_port).into(),
            local: (found.destination_address, found.destination_port).into(),
        }),
        (Command::Proxy, Found::IPv6(found)) => Some(Addresses {
            client: (found.source_address, found.source_port).into(),
            local: (found.destination_address, found.destination_port).into(),
        }),
        (Command::Local, _) | (_, Found::Unix(_) | Found::Unspecified) => None,
    })
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_2(command: u8, extensions: usize) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, 0x11]);
        header.extend(u16::try_from(12 + extensions).unwrap().to_be_bytes());
        header.extend([192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0x01, 0xbb]);
        header.extend(std::iter::repeat_n(0, extensions));
        header
    }

    fn addresses() -> Addresses {
        Addresses { client: "192.0.2.1:12345".parse().unwrap(), local: "198.51.100.2:443".parse().unwrap() }
    }

    #[test]
    fn both_versions_name_the_client() {
        let first = b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n";
        assert_eq!(parse(first).unwrap(), Some(addresses()));
        assert_eq!(parse(&version_2(0x21, 0)).unwrap(), Some(addresses()));
        assert_eq!(parse(&version_2(0x21, 300)).unwrap(), Some(addresses()));
    }

    #[test]
    fn a_balancer_that_speaks_for_itself_names_nobody() {
        assert_eq!(parse(b"PROXY UNKNOWN\r\n").unwrap(), None);
        assert_eq!(parse(&version_2(0x20, 0)).unwrap(), None);
    }

    #[test]
    fn a_header_is_complete_only_at_its_last_byte() {
        for header in [b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n".to_vec(), version_2(0x21, 9)] {
            for end in 0..header.len() {
                assert_eq!(header_length(&header[..end]).unwrap(), None, "{end}");
            }
            let followed = [&header[..], b"GET /"].concat();
            assert_eq!(header_length(&followed).unwrap(), Some(header.len()));
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_its_first_byte() {
        assert!(header_length(b"G").is_err());
        assert!(header_length(b"\x16\x03").is_err());
        assert!(header_length(b"PROXYX").is_err());
        assert!(header_length(&[b"PROXY ", &[b'x'; 101][..]].concat()).is_err());
        assert!(header_length(&version_2(0x21, 5_000)).is_err());
        assert!(parse(b"PROXY TCP4 192.0.2.1\r\n").is_err());
    }
}
