//! A client that sends what it is given, and tells whose answer came.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::harness::PATIENCE;
use crate::harness::http::{Framing, Head};

pub struct Wire {
    input: BufReader<TcpStream>,
}

/// An answer that came whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The request that the front says this is the answer to.
    pub id: String,
    /// The target that the peer says this is the answer to.
    pub answers: Option<String>,
    pub closes: bool,
}

impl Wire {
    pub fn open(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Wire { input: BufReader::new(stream) }
    }

    /// In one write each. The front may have closed already.
    pub fn send(&mut self, parts: &[&[u8]]) {
        for part in parts {
            let _ = self.input.get_mut().write_all(part);
        }
    }

    /// Nothing more will be sent.
    pub fn half_close(&mut self) {
        let _ = self.input.get_ref().shutdown(Shutdown::Write);
    }

    /// The next answer, interim ones left out; `None` when the connection has ended.
    pub fn answer(&mut self, method: &str) -> Option<Answer> {
        loop {
            let head = Head::read(&mut self.input).ok()??;
            if (100..200).contains(&head.status()) {
                continue;
            }
            let mut framing = Framing::of_answer(method, &head);
            let mut buffer = [0; 4096];
            while framing.read(&mut self.input, &mut buffer).ok()? > 0 {}
            let field = |name: &str| head.headers.get(name).map(str::to_owned);
            return Some(Answer {
                status: head.status(),
                id: field("x-request-id").unwrap_or_default(),
                answers: field("x-answers"),
                closes: field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
            });
        }
    }

    /// What still comes until the front closes.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        match self.input.read_to_end(&mut rest) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // A reset is an end too.
            _ => Ok(rest),
        }
    }
}
