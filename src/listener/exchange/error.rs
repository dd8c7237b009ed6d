//! Why an exchange cannot go on.

use std::fmt;
use std::io;

/// What broke an exchange. Whoever answers stops, and the listener ends the connection or the stream.
#[derive(Debug)]
pub enum Broken {
    /// The client has gone, or its connection broke.
    Gone(String),
    /// The client sends its body, or takes the answer, more slowly than the listener bears.
    TooSlow(&'static str),
    /// The framing of the request's body is not that of its protocol.
    Malformed(&'static str),
    /// What we were sending broke off: an answer that has begun cannot end cleanly any more.
    Content(String),
}

pub type Result<T> = std::result::Result<T, Broken>;

impl Broken {
    /// Whether the failure is the client's alone.
    pub fn is_the_clients(&self) -> bool {
        !matches!(self, Broken::Content(_))
    }

    /// For the log, without anything that the client sent.
    pub fn words(&self) -> &'static str {
        match self {
            Broken::Gone(_) => "the client went away",
            Broken::TooSlow(why) | Broken::Malformed(why) => why,
            Broken::Content(_) => "the content broke off",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Gone(why) => write!(f, "the client went away: {why}"),
            Broken::TooSlow(why) | Broken::Malformed(why) => f.write_str(why),
            Broken::Content(why) => write!(f, "content broke off: {why}"),
        }
    }
}

impl std::error::Error for Broken {}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        match error.kind() {
            io::ErrorKind::InvalidData => Broken::Malformed("the framing of the request's body is broken"),
            _ => Broken::Gone(error.to_string()),
        }
    }
}

impl From<h2::Error> for Broken {
    fn from(error: h2::Error) -> Broken {
        match error.reason() {
            // The library found the body to be another than its head announced.
            Some(h2::Reason::PROTOCOL_ERROR) if !error.is_remote() => {
                Broken::Malformed("the framing of the request's body is broken")
            }
            _ => Broken::Gone(error.to_string()),
        }
    }
}
