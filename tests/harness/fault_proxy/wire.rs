//! The fault proxy's two connections: requests from Entrepot to the registry, and the answers back, spoilt.

use std::fmt::Write as _;
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::http::{Framing, Head};
use super::{Fault, Reply, Seen, Shared, Target, lock};

/// Small enough that a throttled body flows instead of jumping.
const PIECE: usize = 16 << 10;
const TIMEOUT: Duration = Duration::from_secs(120);

/// Serves one connection until either side ends it.
pub(super) fn serve(client: &TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client);
    let mut registry: Option<BufReader<TcpStream>> = None;
    while let Some(head) = Head::read(&mut reader)? {
        let (method, target) = (head.word(0).to_owned(), head.word(1).to_owned());
        let mut seen = Seen { method, target, head, body: Vec::new(), status: 0 };
        let fault = shared.fault(&seen.method, &seen.target);
        let framing = Framing::of_request(&seen.head);
        if let Some(Fault::Refuse(reply)) = &fault {
            let index = record(shared, seen.clone());
            note_status(shared, index, reply.status);
            send_reply(client, shared, &seen.method, reply, None)?;
            return linger(client, &mut reader);
        }
        if matches!(shared.target, Target::Script(_)) || matches!(fault, Some(Fault::Answer(_))) {
            seen.body = read_body(framing, &mut reader, client, &seen.head)?;
        }
        let index = record(shared, seen.clone());
        match &fault {
            Some(Fault::Delay(time)) => std::thread::sleep(*time),
            Some(Fault::Hold(gate)) => gate.wait(),
            Some(Fault::Hangup) => return Ok(()),
            _ => {}
        }
        let reply = match (&fault, &shared.target) {
            (Some(Fault::Answer(reply)), _) => Some(reply.clone()),
            (_, Target::Script(script)) => Some(script(&seen)),
            _ => None,
        };
        if let Some(reply) = reply {
            note_status(shared, index, reply.status);
            if matches!(fault, Some(Fault::Lose(0))) {
                return Ok(());
            }
            send_reply(client, shared, &seen.method, &reply, fault.as_ref())?;
            continue;
        }
        let Target::Registry(address) = shared.target else { return Ok(()) };
        let peer = match &mut registry {
            Some(peer) => peer,
            None => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                registry.insert(BufReader::new(stream))
            }
        };
        let mut early = None;
        peer.get_ref().write_all(&seen.head.raw)?;
        if seen.head.headers.get("expect").is_some() {
            let answer = Head::read(peer)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if answer.status() == 100 {
                (&mut &*client).write_all(&answer.raw)?;
            } else {
                early = Some(answer);
            }
        }
        if early.is_none() {
            // A registry that refuses an upload closes before it has read it; its answer is there all the same.
            let _ = copy_raw(framing, &mut reader, peer.get_ref());
        }
        let answer = match early {
            Some(answer) => answer,
            None => final_head(peer)?,
        };
        note_status(shared, index, answer.status());
        match &fault {
            Some(Fault::Lose(bytes)) => return lose(client, peer, &seen.method, &answer, *bytes),
            Some(Fault::LoseFor(reply)) => {
                read_answer(peer, &seen.method, &answer)?;
                note_status(shared, index, reply.status);
                send_reply(client, shared, &seen.method, reply, None)?;
                continue;
            }
            _ => {}
        }
        let keep = Framing::of_answer(&seen.method, &answer) != Framing::UntilClose;
        send_answer(client, shared, peer, &seen.method, &answer, fault.as_ref())?;
        if !keep || answer.headers.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            return Ok(());
        }
    }
    Ok(())
}

/// All of it, so that whatever the peer does until its last byte is done.
fn read_answer(peer: &mut BufReader<TcpStream>, method: &str, head: &Head) -> io::Result<Vec<u8>> {
    let mut framing = Framing::of_answer(method, head);
    let (mut body, mut buffer) = (Vec::new(), vec![0; PIECE]);
    loop {
        match framing.read(peer, &mut buffer)? {
            0 => return Ok(body),
            count => body.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Sends so many bytes of the answer, and no more.
fn lose(
    mut client: &TcpStream,
    peer: &mut BufReader<TcpStream>,
    method: &str,
    head: &Head,
    bytes: usize,
) -> io::Result<()> {
    let mut answer = head.raw.clone();
    answer.extend(read_answer(peer, method, head)?);
    client.write_all(&answer[..bytes.min(answer.len().saturating_sub(1))])
}

/// Reads a little of what still comes, so that the end is no reset that would take the answer with it.
fn linger(client: &TcpStream, reader: &mut BufReader<&TcpStream>) -> io::Result<()> {
    client.shutdown(std::net::Shutdown::Write)?;
    client.set_read_timeout(Some(Duration::from_secs(2)))?;
    io::copy(&mut reader.take(256 << 10), &mut io::sink()).map(drop)
}

fn record(shared: &Shared, seen: Seen) -> usize {
    let mut all = lock(&shared.seen);
    all.push(seen);
    all.len() - 1
}

/// The record may be gone: a test forgot what was seen.
fn note_status(shared: &Shared, index: usize, status: u16) {
    if let Some(seen) = lock(&shared.seen).get_mut(index) {
        seen.status = status;
    }
}

fn final_head(peer: &mut BufReader<TcpStream>) -> io::Result<Head> {
    loop {
        let head = Head::read(peer)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if head.status() >= 200 {
            return Ok(head);
        }
    }
}

fn read_body(
    mut framing: Framing,
    reader: &mut BufReader<&TcpStream>,
    client: &TcpStream,
    head: &Head,
) -> io::Result<Vec<u8>> {
    if head.headers.get("expect").is_some() {
        (&mut &*client).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let (mut body, mut buffer) = (Vec::new(), [0; PIECE]);
    loop {
        match framing.read(reader, &mut buffer)? {
            0 => return Ok(body),
            count => body.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Copies a request's body, framed as it came.
fn copy_raw(mut framing: Framing, from: &mut BufReader<&TcpStream>, mut to: &TcpStream) -> io::Result<()> {
    let chunked = matches!(framing, Framing::Chunked(_));
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = framing.read(from, &mut buffer)?;
        write_piece(&mut to, &buffer[..count], chunked)?;
        if count == 0 {
            return Ok(());
        }
    }
}

fn write_piece(to: &mut impl Write, bytes: &[u8], chunked: bool) -> io::Result<()> {
    if !chunked {
        return to.write_all(bytes);
    }
    let mut piece = format!("{:x}\r\n", bytes.len()).into_bytes();
    piece.extend_from_slice(bytes);
    piece.extend_from_slice(b"\r\n");
    to.write_all(&piece)
}

fn send_reply(
    client: &TcpStream,
    shared: &Shared,
    method: &str,
    reply: &Reply,
    fault: Option<&Fault>,
) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {} scripted\r\n", reply.status);
    for (name, value) in &reply.headers.0 {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    if reply.headers.get("content-length").is_none() && !matches!(reply.status, 204 | 304) {
        let _ = write!(text, "Content-Length: {}\r\n", reply.body.len());
    }
    text.push_str("\r\n");
    let head = Head::read(&mut text.as_bytes())?.ok_or(io::ErrorKind::InvalidData)?;
    send_answer(client, shared, &mut BufReader::new(reply.body.as_slice()), method, &head, fault)
}

/// Sends head and body on, with the fault in them.
fn send_answer<R: Read>(
    client: &TcpStream,
    shared: &Shared,
    source: &mut BufReader<R>,
    method: &str,
    head: &Head,
    fault: Option<&Fault>,
) -> io::Result<()> {
    let mut framing = Framing::of_answer(method, head);
    let length = match framing {
        Framing::Length(length) => Some(length),
        _ => None,
    };
    let chunked = matches!(framing, Framing::Chunked(_)) || (length.is_some() && matches!(fault, Some(Fault::Chunked)));
    let promised = match (length, fault) {
        (Some(length), Some(Fault::Shorten(less))) => Some(length.saturating_sub(*less)),
        (Some(length), Some(Fault::Lengthen(more))) => Some(length + more),
        _ => length,
    };
    let mut client = client;
    client.write_all(&rewritten(
        head,
        promised.filter(|_| !chunked && promised != length),
        chunked && length.is_some(),
    ))?;
    let (mut at, mut buffer) = (0_u64, vec![0; PIECE]);
    loop {
        let most = piece_end(fault, at);
        let count = framing.read(source, &mut buffer[..most])?;
        let bytes = &mut buffer[..count];
        match fault {
            Some(Fault::FlipAt(k)) if length.is_some() && (at..at + count as u64).contains(k) => {
                bytes[(k - at) as usize] ^= 1
            }
            Some(Fault::CutAt(k)) if length.is_some() && at >= *k => {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Some(Fault::DieAt(k)) if length.is_some() && at >= *k => {
                shared.die();
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Some(Fault::HoldAt(k, gate)) if length.is_some() && at == *k => gate.wait(),
            _ => {}
        }
        let fits =
            promised.map_or(count, |promised| count.min(usize::try_from(promised.saturating_sub(at)).unwrap_or(count)));
        if length.is_none() || fits > 0 || chunked {
            shared.wait_turn(fits);
            shared.body_bytes.fetch_add(fits as u64, Ordering::SeqCst);
            write_piece(&mut client, &bytes[..fits], chunked)?;
        }
        at += count as u64;
        if count == 0 {
            break;
        }
    }
    if let (Some(Fault::Lengthen(more)), Some(_)) = (fault, length) {
        client.write_all(&vec![b'x'; usize::try_from(*more).unwrap_or(0)])?;
    }
    Ok(())
}

/// How much to read at once, so that a byte where something happens begins a piece.
fn piece_end(fault: Option<&Fault>, at: u64) -> usize {
    match fault {
        Some(Fault::CutAt(k) | Fault::DieAt(k) | Fault::HoldAt(k, _)) if *k > at => {
            usize::try_from(*k - at).unwrap_or(PIECE).min(PIECE)
        }
        _ => PIECE,
    }
}

/// The head as it came, but for another length, or none.
fn rewritten(head: &Head, length: Option<u64>, chunked: bool) -> Vec<u8> {
    if length.is_none() && !chunked {
        return head.raw.clone();
    }
    let text = String::from_utf8_lossy(&head.raw).into_owned();
    let mut new = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let is_length = line.to_ascii_lowercase().starts_with("content-length:");
        match (is_length, length) {
            (true, Some(length)) => new.push_str(&format!("Content-Length: {length}\r\n")),
            (true, None) => new.push_str("Transfer-Encoding: chunked\r\n"),
            (false, _) => new.push_str(&format!("{line}\r\n")),
        }
    }
    new.push_str("\r\n");
    new.into_bytes()
}
