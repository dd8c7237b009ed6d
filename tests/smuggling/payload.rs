//! A payload of the corpus: bytes with places in them to be filled, and what must become of them.

/// Becomes the target, which each place has its own of.
const TARGET: &str = "~";
/// Becomes the payload's number. As long as the number, so that lengths stay true.
const NUMBER: &str = "@@@@@";

/// The request that nobody sent: it may only be found where the payload's framing ends before it.
pub const MARKER: &str =
    "GET /v2/smuggled-@@@@@/tags/list HTTP/1.1\r\nHost: registry\r\nX-Request-Id: smuggled-@@@@@\r\n\r\n";

/// What must become of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Must {
    /// The head is refused and the connection closed; nobody else hears of it.
    Refuse,
    /// The body is no body: refused where it is read, never whole at a peer, and the connection ends.
    Break,
    /// The client went before the end: perhaps an answer, never whole at a peer, and the connection ends.
    Cut,
    /// One request with this content; the connection may go on.
    Serve(Vec<u8>),
    /// One request with this content; the connection ends, whatever came behind it.
    Last(Vec<u8>),
    /// One request with this content, and the marker as a request of its own: it was sent as one.
    Two(Vec<u8>),
    /// One request with this content; what came behind it is refused.
    Then(Vec<u8>),
    /// One answer of ours; nobody else hears of it.
    Answer,
}

#[derive(Clone, Debug)]
pub struct Payload {
    pub name: String,
    text: String,
    pub must: Must,
}

impl Payload {
    pub fn new(family: &str, text: impl Into<String>, must: Must) -> Payload {
        let text = text.into();
        let shown: String = text.replace(MARKER, "<marker>").replace(POST, "<post>").replace(GET, "<get>");
        Payload { name: format!("{family}: {:?}", shown.chars().take(120).collect::<String>()), text, must }
    }

    pub fn method(&self) -> &str {
        let text = self.text.trim_start();
        text.split([' ', '\t', '\r', '\n', '\0']).next().unwrap_or_default()
    }

    /// The client says that it sends no content before it is told to.
    pub fn expects(&self) -> bool {
        self.text.contains("Expect:")
    }

    /// The same as a GET, where it is a POST.
    pub fn as_get(&self) -> Payload {
        Payload { text: self.text.replacen("POST", "GET", 1), ..self.clone() }
    }

    /// Characters stand for bytes, so that payloads may have those that are no UTF-8.
    pub fn bytes(&self, target: &str, number: usize) -> Vec<u8> {
        let text = self.text.replace(TARGET, target).replace(NUMBER, &format!("{number:05}"));
        text.chars().map(|one| u8::try_from(u32::from(one)).expect("a byte")).collect()
    }

    /// The content that a peer must have received, if any may.
    pub fn content(&self, number: usize) -> Option<Vec<u8>> {
        let (Must::Serve(content) | Must::Last(content) | Must::Two(content) | Must::Then(content)) = &self.must else {
            return None;
        };
        let text = String::from_utf8(content.clone()).expect("text");
        Some(text.replace(NUMBER, &format!("{number:05}")).into_bytes())
    }
}

/// How most payloads begin.
pub const POST: &str = "POST ~ HTTP/1.1\r\nHost: registry\r\nX-Request-Id: own-@@@@@\r\n";
pub const GET: &str = "GET ~ HTTP/1.1\r\nHost: registry\r\nX-Request-Id: own-@@@@@\r\n";

pub fn serve(content: &str) -> Must {
    Must::Serve(content.into())
}

/// Payloads of one family that must all be refused.
pub fn refused<'a>(
    family: &str,
    texts: impl IntoIterator<Item = &'a str>,
    whole: impl Fn(&str) -> String,
) -> Vec<Payload> {
    texts.into_iter().map(|text| Payload::new(family, whole(text), Must::Refuse)).collect()
}
