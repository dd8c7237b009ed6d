//! An HTTP/1.1 client that hides nothing: it says what came on the wire, how the body was framed and whether it ended
//! as its framing promised. It can send what no library would.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine;
use socket2::{Domain, Socket, Type};

/// A test never hangs on a silent server.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let name = name.to_ascii_lowercase();
        self.0.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(&name)).map(|(_, value)| value.as_str())
    }
}

/// The first line and the fields of a message, as text and read.
#[derive(Clone, Debug)]
pub struct Head {
    pub raw: Vec<u8>,
    /// The words of the first line: method, target, version; or version, status, reason.
    pub line: Vec<String>,
    pub headers: Headers,
}

impl Head {
    /// `None` at the end of the stream.
    pub fn read(stream: &mut impl BufRead) -> io::Result<Option<Head>> {
        let mut raw = Vec::new();
        loop {
            let before = raw.len();
            if stream.read_until(b'\n', &mut raw)? == 0 {
                return if raw.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            if matches!(&raw[before..], b"\r\n" | b"\n") {
                break;
            }
        }
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.lines();
        let line = lines.next().unwrap_or_default().splitn(3, ' ').map(str::to_owned).collect();
        let fields = lines.filter_map(|line| line.split_once(':'));
        let headers = Headers(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect());
        Ok(Some(Head { raw, line, headers }))
    }

    pub fn word(&self, index: usize) -> &str {
        self.line.get(index).map_or("", String::as_str)
    }

    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    pub fn content_length(&self) -> Option<u64> {
        self.headers.get("content-length").and_then(|value| value.parse().ok())
    }

    pub fn is_chunked(&self) -> bool {
        self.headers.all("transfer-encoding").any(|value| value.to_ascii_lowercase().contains("chunked"))
    }
}

/// What is left of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    /// Bytes left in this chunk; `None` before the first.
    Chunked(Option<u64>),
    UntilClose,
    Ended,
}

impl Framing {
    pub fn of_request(head: &Head) -> Framing {
        match head.content_length() {
            _ if head.is_chunked() => Framing::Chunked(None),
            Some(length) => Framing::Length(length),
            None => Framing::Ended,
        }
    }

    pub fn of_answer(method: &str, head: &Head) -> Framing {
        match (head.status(), head.content_length()) {
            (204 | 304, _) => Framing::Ended,
            _ if method == "HEAD" => Framing::Ended,
            _ if head.is_chunked() => Framing::Chunked(None),
            (_, Some(length)) => Framing::Length(length),
            _ => Framing::UntilClose,
        }
    }

    /// Reads on; 0 at the end that was promised, an error at any other.
    pub fn read(&mut self, stream: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Framing::Ended => Ok(0),
            Framing::UntilClose => stream.read(buffer),
            Framing::Length(0) => {
                *self = Framing::Ended;
                Ok(0)
            }
            Framing::Length(left) => read_some(stream, buffer, left),
            Framing::Chunked(Some(left)) if *left > 0 => read_some(stream, buffer, left),
            Framing::Chunked(before) => {
                let size = next_chunk(stream, before.is_some())?;
                *self = if size == 0 { Framing::Ended } else { Framing::Chunked(Some(size)) };
                self.read(stream, buffer)
            }
        }
    }
}

fn read_some(stream: &mut impl BufRead, buffer: &mut [u8], left: &mut u64) -> io::Result<usize> {
    let most = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    let count = stream.read(&mut buffer[..most])?;
    if count == 0 && most > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    *left -= count as u64;
    Ok(count)
}

/// The size of the next chunk; the trailer is read too when it is the last.
fn next_chunk(stream: &mut impl BufRead, after_another: bool) -> io::Result<u64> {
    let mut line = String::new();
    if after_another {
        stream.read_line(&mut line)?;
        line.clear();
    }
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let digits = line.trim().split(';').next().unwrap_or_default();
    let size = u64::from_str_radix(digits, 16).map_err(|_| io::Error::other(format!("no chunk size: {line:?}")))?;
    if size == 0 {
        read_trailer(stream)?;
    }
    Ok(size)
}

fn read_trailer(stream: &mut impl BufRead) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.trim().is_empty() {
            return Ok(());
        }
    }
}

enum Body {
    None,
    Bytes(Vec<u8>),
    Sized(Box<dyn Read + Send>, u64),
    Chunked(Box<dyn Read + Send>),
}

/// A request to be sent. `Host` is the address it is sent to unless it names one.
pub struct Request {
    pub method: String,
    pub target: String,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Request {
    pub fn new(method: &str, target: impl Into<String>) -> Self {
        let target = target.into();
        if let Some(query) = target.strip_prefix("/token?") {
            super::secrets::note_form(query);
        }
        Request { method: method.into(), target, headers: Vec::new(), body: Body::None }
    }

    pub fn get(target: impl Into<String>) -> Self {
        Request::new("GET", target)
    }

    pub fn head(target: impl Into<String>) -> Self {
        Request::new("HEAD", target)
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        if name.eq_ignore_ascii_case("authorization") {
            super::secrets::note_authorization(&value);
        }
        self.headers.push((name.into(), value));
        self
    }

    pub fn basic(self, user: &str, password: &str) -> Self {
        let value = basic(user, password);
        self.header("Authorization", value)
    }

    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        if self.target.starts_with("/token") {
            super::secrets::note_form(&String::from_utf8_lossy(&bytes));
        }
        self.body = Body::Bytes(bytes);
        self
    }

    /// A body of `length` bytes that is never held in memory as a whole.
    pub fn stream(mut self, source: impl Read + Send + 'static, length: u64) -> Self {
        self.body = Body::Sized(Box::new(source.take(length)), length);
        self
    }

    pub fn chunked(mut self, source: impl Read + Send + 'static) -> Self {
        self.body = Body::Chunked(Box::new(source));
        self
    }

    /// Sends it on a connection of its own and reads the whole answer.
    pub fn send(self, address: SocketAddr) -> Answer {
        let what = format!("{} {}", self.method, self.target);
        self.try_send(address).unwrap_or_else(|error| panic!("no answer to {what}: {error}"))
    }

    pub fn try_send(self, address: SocketAddr) -> io::Result<Answer> {
        Ok(Connection::open(address)?.header_close().exchange(self)?.finish())
    }

    /// The same from another address of this machine, such as 127.0.0.2.
    pub fn send_from(self, client: IpAddr, address: SocketAddr) -> Answer {
        let what = format!("{} {}", self.method, self.target);
        let connection =
            Connection::open_from(client, address).unwrap_or_else(|error| panic!("no connection: {error}"));
        let download = connection.header_close().exchange(self);
        download.unwrap_or_else(|error| panic!("no answer to {what}: {error}")).finish()
    }

    /// Sends it on a connection of its own and returns as soon as the head of the answer is there.
    pub fn open(self, address: SocketAddr) -> Download {
        let what = format!("{} {}", self.method, self.target);
        let connection = Connection::open(address).unwrap_or_else(|error| panic!("no connection: {error}"));
        connection.exchange(self).unwrap_or_else(|error| panic!("no answer to {what}: {error}"))
    }
}

/// The value of an `Authorization` header.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// One connection to a server, kept open as long as both want.
pub struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    authority: String,
    close: bool,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Connection> {
        Connection::of(TcpStream::connect(address)?, address)
    }

    /// From another address of this machine.
    pub fn open_from(client: IpAddr, address: SocketAddr) -> io::Result<Connection> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(client, 0).into())?;
        socket.connect(&address.into())?;
        Connection::of(socket.into(), address)
    }

    fn of(stream: TcpStream, address: SocketAddr) -> io::Result<Connection> {
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Connection::over(stream, &address.to_string()))
    }

    /// Speaks over what is already connected (and encrypted).
    pub fn over(stream: impl Stream + 'static, authority: &str) -> Connection {
        let stream: Box<dyn Stream> = Box::new(stream);
        Connection { stream: BufReader::with_capacity(64 << 10, stream), authority: authority.into(), close: false }
    }

    fn header_close(mut self) -> Self {
        self.close = true;
        self
    }

    /// Sends bytes exactly as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Sends the request; an answer that comes before the body is sent is read too.
    pub fn exchange(mut self, request: Request) -> io::Result<Download> {
        let method = request.method.clone();
        let sent = self.write(request);
        match self.answer(&method) {
            Ok(download) => Ok(download),
            Err(error) => Err(sent.err().unwrap_or(error)),
        }
    }

    /// One exchange; the connection comes back for the next, if the server keeps it.
    pub fn ask(self, request: Request) -> io::Result<(Answer, Connection)> {
        let mut download = self.exchange(request)?;
        let answer = download.collect();
        Ok((answer, download.connection))
    }

    /// Reads one head, interim or not, and nothing behind it.
    pub fn read_head(&mut self) -> io::Result<Head> {
        Head::read(&mut self.stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Reads the head of an answer to a request of `method`; interim answers are kept with it.
    pub fn answer(mut self, method: &str) -> io::Result<Download> {
        let mut interim = Vec::new();
        loop {
            let head = self.read_head()?;
            if (100..200).contains(&head.status()) && head.status() != 101 {
                interim.push(head.status());
                continue;
            }
            let framing = Framing::of_answer(method, &head);
            return Ok(Download { status: head.status(), interim, head, framing, connection: self });
        }
    }

    pub fn write(&mut self, request: Request) -> io::Result<()> {
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        let mut field = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
        if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            field("Host", &self.authority);
        }
        for (name, value) in &request.headers {
            field(name, value);
        }
        if self.close {
            field("Connection", "close");
        }
        match &request.body {
            Body::None if matches!(request.method.as_str(), "POST" | "PUT" | "PATCH") => field("Content-Length", "0"),
            Body::None => {}
            Body::Bytes(bytes) => field("Content-Length", &bytes.len().to_string()),
            Body::Sized(_, length) => field("Content-Length", &length.to_string()),
            Body::Chunked(_) => field("Transfer-Encoding", "chunked"),
        }
        head.push_str("\r\n");
        self.send_raw(head.as_bytes())?;
        match request.body {
            Body::None => Ok(()),
            Body::Bytes(bytes) => self.send_raw(&bytes),
            Body::Sized(mut source, _) => io::copy(&mut source, self.stream.get_mut()).map(drop),
            Body::Chunked(source) => self.write_chunks(source),
        }
    }

    fn write_chunks(&mut self, mut source: Box<dyn Read + Send>) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = source.read(&mut buffer)?;
            let mut chunk = format!("{count:x}\r\n").into_bytes();
            chunk.extend_from_slice(&buffer[..count]);
            chunk.extend_from_slice(b"\r\n");
            self.send_raw(&chunk)?;
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Everything that still comes until the server closes.
    pub fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }
}

/// An answer whose body is still to be read.
pub struct Download {
    pub status: u16,
    /// The 1xx statuses that came before.
    pub interim: Vec<u16>,
    pub head: Head,
    framing: Framing,
    connection: Connection,
}

impl Download {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)
    }

    /// Reads `count` bytes of the body, or panics.
    pub fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.read_exact(&mut bytes).expect("the body goes on");
        bytes
    }

    /// The rest of the body.
    pub fn finish(mut self) -> Answer {
        self.collect()
    }

    fn collect(&mut self) -> Answer {
        let mut body = Vec::new();
        let complete = self.read_to_end(&mut body).is_ok();
        Answer {
            status: self.status,
            headers: self.head.headers.clone(),
            body,
            complete,
            interim: self.interim.clone(),
        }
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.framing.read(&mut self.connection.stream, buffer)
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
    /// The body ended where its framing said that it would.
    pub complete: bool,
    pub interim: Vec<u16>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The OCI error code of the body; empty when there is none.
    pub fn error_code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// A clean end with this status; returns the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Vec<u8> {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text().chars().take(500).collect::<String>());
        assert!(self.complete, "the body ended before its time, after {} bytes", self.body.len());
        self.body
    }
}
