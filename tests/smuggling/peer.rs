//! A peer that takes what has one reading only, as HTTP/1.1 is written, and keeps every byte that came. Whatever else reaches
//! it is a fault: another peer might have found a request in it.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::harness::digest;

/// The content of the one blob that it has.
pub const BLOB: &[u8] = b"the content of a blob";

/// How many bytes of a connection a fault shows.
const SHOWN: usize = 500;

/// One request, as far as it came.
#[derive(Clone, Default)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub body: Vec<u8>,
    /// It ended as its head promised.
    pub whole: bool,
    expects: bool,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { method, target, body, whole, .. } = self;
        write!(f, "{method} {target} \"{}\" {}", body.escape_ascii(), if *whole { "whole" } else { "cut" })
    }
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    faults: Mutex<Vec<String>>,
    stop: AtomicBool,
}

pub struct Peer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Peer {
    pub fn start() -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten().take_while(|_| !accepting.stop.load(Ordering::Relaxed)) {
                let shared = accepting.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Peer { address, shared }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }

    /// What came that is no request with one reading, with the last bytes of its connection.
    pub fn faults(&self) -> Vec<String> {
        self.shared.faults.lock().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// Keeps what passes.
struct Tee(TcpStream, Arc<Mutex<Vec<u8>>>);

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.lock().extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

/// Why there is no request.
enum Odd {
    /// The connection ended where one might.
    End,
    /// It broke off in the body.
    Cut(Seen),
    Fault(&'static str),
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let (Ok(()), Ok(mut out)) = (stream.set_nodelay(true), stream.try_clone()) else { return };
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let mut input = BufReader::new(Tee(stream, bytes.clone()));
        loop {
            match request(&mut input, &mut out) {
                Ok(seen) => {
                    let answer = answer(&seen);
                    self.seen.lock().push(seen);
                    if out.write_all(&answer).is_err() {
                        return;
                    }
                }
                Err(Odd::End) => return,
                Err(Odd::Cut(seen)) => return self.seen.lock().push(seen),
                Err(Odd::Fault(why)) => {
                    let bytes = bytes.lock();
                    let last = &bytes[bytes.len().saturating_sub(SHOWN)..];
                    self.faults.lock().push(format!("{why} in \"{}\"", last.escape_ascii()));
                    let _ =
                        out.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    return;
                }
            }
        }
    }
}

/// Says which request it answers.
fn answer(seen: &Seen) -> Vec<u8> {
    let digest = digest(BLOB);
    if seen.target.ends_with(&digest) {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nDocker-Content-Digest: {digest}\r\n\r\n", BLOB.len());
        return if seen.method == "HEAD" { head.into_bytes() } else { [head.as_bytes(), BLOB].concat() };
    }
    format!("HTTP/1.1 202 Accepted\r\nX-Answers: {}\r\nContent-Length: 0\r\n\r\n", seen.target).into_bytes()
}

fn request(input: &mut impl BufRead, out: &mut impl Write) -> Result<Seen, Odd> {
    let mut lines = Vec::new();
    loop {
        match line(input)? {
            None if lines.is_empty() => return Err(Odd::End),
            None => return Err(Odd::Fault("half a head")),
            Some(line) if line.is_empty() => break,
            Some(line) => lines.push(line),
        }
    }
    let (mut seen, framing) = head(&lines)?;
    if seen.expects && out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_err() {
        return Err(Odd::End);
    }
    let read = match framing {
        Framing::Length(length) => exactly(input, length, &mut seen.body),
        Framing::Chunked => chunks(input, &mut seen.body),
    };
    match read {
        Ok(()) => seen.whole = true,
        Err(Odd::End) => return Err(Odd::Cut(seen)),
        Err(odd) => return Err(odd),
    }
    Ok(seen)
}

enum Framing {
    Length(u64),
    Chunked,
}

/// A line without its CR LF; `None` at the end of the connection.
fn line(input: &mut impl BufRead) -> Result<Option<String>, Odd> {
    let mut bytes = Vec::new();
    if input.read_until(b'\n', &mut bytes).is_err() || !bytes.ends_with(b"\n") {
        return if bytes.is_empty() { Ok(None) } else { Err(Odd::Fault("half a line")) };
    }
    let text = bytes.strip_suffix(b"\r\n").ok_or(Odd::Fault("a line that ends in LF alone"))?;
    let clean = text.iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..));
    if clean { Ok(Some(String::from_utf8_lossy(text).into_owned())) } else { Err(Odd::Fault("a control byte")) }
}

fn token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn head(lines: &[String]) -> Result<(Seen, Framing), Odd> {
    let words: Vec<&str> = lines.first().map(|line| line.split(' ').collect()).unwrap_or_default();
    let [method, target, "HTTP/1.1"] = words[..] else { return Err(Odd::Fault("no request line")) };
    if !token(method) || !target.starts_with('/') {
        return Err(Odd::Fault("no request line"));
    }
    let mut fields: Vec<(String, &str)> = Vec::new();
    for line in &lines[1..] {
        let (name, value) = line.split_once(':').ok_or(Odd::Fault("a field without a colon"))?;
        if !token(name) {
            return Err(Odd::Fault("a field whose name is no token"));
        }
        fields.push((name.to_ascii_lowercase(), value.trim()));
    }
    let all =
        |wanted: &str| fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value).collect::<Vec<_>>();
    if all("host").len() != 1 {
        return Err(Odd::Fault("not one Host"));
    }
    if ["te", "trailer", "upgrade", "keep-alive", "proxy-connection", "http2-settings"]
        .iter()
        .any(|name| !all(name).is_empty())
    {
        return Err(Odd::Fault("a field of the client's connection"));
    }
    if !matches!(all("connection")[..], [] | ["close" | "keep-alive"]) {
        return Err(Odd::Fault("a Connection with something in it"));
    }
    let framing = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Framing::Length(0),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            Framing::Length(length.parse().map_err(|_| Odd::Fault("no length"))?)
        }
        _ => return Err(Odd::Fault("not one framing")),
    };
    let expects = !all("expect").is_empty();
    let seen = Seen { method: method.into(), target: target.into(), expects, ..Seen::default() };
    Ok((seen, framing))
}

fn exactly(input: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> Result<(), Odd> {
    match input.take(length).read_to_end(body) {
        Ok(count) if count as u64 == length => Ok(()),
        _ => Err(Odd::End),
    }
}

/// Sizes in hexadecimal digits and nothing else: what came in a client's extensions and trailers is not handed on.
fn chunks(input: &mut impl BufRead, body: &mut Vec<u8>) -> Result<(), Odd> {
    loop {
        let size = line(input)?.ok_or(Odd::End)?;
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Odd::Fault("a chunk without a size"));
        }
        let size = u64::from_str_radix(&size, 16).map_err(|_| Odd::Fault("a chunk without a size"))?;
        exactly(input, size, body)?;
        let end = line(input)?.ok_or(Odd::End)?;
        match (end.is_empty(), size) {
            (false, _) => return Err(Odd::Fault("a chunk that does not end, or a trailer")),
            (true, 0) => return Ok(()),
            (true, _) => {}
        }
    }
}
