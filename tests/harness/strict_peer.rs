//! A peer that believes nothing: it reads HTTP/1.1 to the letter, keeps every request with its body, and keeps apart what
//! came between requests, where nothing may be.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::http::{Framing, Head};

/// When it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// After the request's last byte.
    Patient,
    /// After the head; it reads the body afterwards.
    Early,
    /// After the head, with 401, and it closes without reading the body.
    Refusing,
}

/// A request whose head came.
#[derive(Clone, Debug)]
pub struct Taken {
    pub connection: usize,
    pub target: String,
    pub head: Head,
    pub body: Vec<u8>,
    /// The body ended as its framing promised.
    pub complete: bool,
}

pub struct StrictPeer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

type Script = Box<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

struct Shared {
    manner: Manner,
    script: Option<Script>,
    taken: Mutex<Vec<Taken>>,
    strays: Mutex<Vec<Vec<u8>>>,
    connections: AtomicUsize,
    stop: AtomicBool,
}

impl StrictPeer {
    pub fn start(manner: Manner) -> StrictPeer {
        StrictPeer::with(manner, None)
    }

    /// Answers each target with these bytes, head and all.
    pub fn answering(script: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> StrictPeer {
        StrictPeer::with(Manner::Patient, Some(Box::new(script)))
    }

    fn with(manner: Manner, script: Option<Script>) -> StrictPeer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            manner,
            script,
            taken: Mutex::default(),
            strays: Mutex::default(),
            connections: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stop.load(Ordering::Relaxed) {
                    return;
                }
                let shared = accepting.clone();
                let number = shared.connections.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || shared.serve(stream, number));
            }
        });
        StrictPeer { address, shared }
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken.lock().clone()
    }

    /// The requests for this target.
    pub fn taken_at(&self, target: &str) -> Vec<Taken> {
        self.taken().into_iter().filter(|taken| taken.target == target).collect()
    }

    /// Bytes that came where a request should begin.
    pub fn strays(&self) -> Vec<String> {
        self.shared.strays.lock().iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for StrictPeer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream, connection: usize) {
        let _ = stream.set_nodelay(true);
        let Ok(mut out) = stream.try_clone() else { return };
        let mut input = BufReader::new(stream);
        while let Ok(Some(head)) = self.head(&mut input) {
            let target = head.word(1).to_owned();
            if !is_request(&head) {
                self.strays.lock().push(head.raw);
                let _ = out.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                return;
            }
            if self.manner != Manner::Patient && self.answer(&mut out, &head).is_err() {
                return;
            }
            if self.manner == Manner::Refusing {
                return;
            }
            let (body, complete) = read_body(&mut input, &head);
            self.taken.lock().push(Taken { connection, target, head: head.clone(), body, complete });
            if !complete || (self.manner == Manner::Patient && self.answer(&mut out, &head).is_err()) {
                return;
            }
        }
    }

    /// Says which request it answers, so that nobody takes another's answer for his.
    fn answer(&self, out: &mut TcpStream, head: &Head) -> io::Result<()> {
        let target = head.word(1);
        if let Some(script) = &self.script {
            return out.write_all(&script(target));
        }
        let status = match self.manner {
            Manner::Refusing => "401 Unauthorized\r\nConnection: close",
            _ => "202 Accepted",
        };
        out.write_all(format!("HTTP/1.1 {status}\r\nX-Answers: {target}\r\nContent-Length: 0\r\n\r\n").as_bytes())
    }

    /// What is not the beginning of a request is taken line by line, so that a lonely last-chunk is seen.
    fn head(&self, input: &mut impl BufRead) -> io::Result<Option<Head>> {
        match input.fill_buf()?.first() {
            None => Ok(None),
            Some(byte) if byte.is_ascii_uppercase() => Head::read(input),
            Some(_) => {
                let mut raw = Vec::new();
                input.read_until(b'\n', &mut raw)?;
                Ok(Some(Head { raw, line: Vec::new(), headers: Default::default() }))
            }
        }
    }
}

fn is_request(head: &Head) -> bool {
    head.line.len() == 3 && head.word(2) == "HTTP/1.1"
}

fn read_body(input: &mut impl BufRead, head: &Head) -> (Vec<u8>, bool) {
    let mut framing = Framing::of_request(head);
    let (mut body, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match framing.read(input, &mut buffer) {
            Ok(0) => return (body, true),
            Ok(count) => body.extend_from_slice(&buffer[..count]),
            Err(_) => return (body, false),
        }
    }
}
