//! A payload of HTTP/2: fields as they are, and how they are cut into frames.

use super::frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PADDED, block};

type Fields = Vec<(String, String)>;

#[derive(Clone)]
pub struct Payload {
    pub name: String,
    pub fields: Fields,
    data: Vec<String>,
    trailers: Option<Vec<(&'static str, &'static str)>>,
    /// Refused; else served as one request whose content is the data.
    pub refused: bool,
    /// What is wrong comes behind the head.
    pub in_content: bool,
    /// What is wrong may be gone before we can see it: then it is served as if it had not been sent.
    pub unseen: bool,
}

fn fields(of: &[(&str, &str)]) -> Fields {
    of.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// A POST with these fields behind its own, and a body.
pub fn with(more: &[(&str, &str)], data: &[&str], refused: bool) -> Payload {
    let own = [(":method", "POST"), (":scheme", "http"), (":authority", "registry"), (":path", "~")];
    let all = fields(&[&own[..], more].concat());
    let data = data.iter().map(|piece| (*piece).to_owned()).collect();
    Payload {
        name: format!("{more:?} {data:?}"),
        fields: all,
        data,
        trailers: None,
        refused,
        in_content: false,
        unseen: false,
    }
}

pub fn in_content(payload: Payload) -> Payload {
    Payload { in_content: true, ..payload }
}

/// A POST whose field `name` has these values in its place.
pub fn instead(name: &str, values: &[&str], refused: bool) -> Payload {
    let base = with(&[], &["hello"], refused);
    let at = base.fields.iter().position(|(own, _)| own == name).expect("one of its own");
    let mut all = base.fields;
    all.splice(at..=at, values.iter().map(|value| (name.to_owned(), (*value).to_owned())));
    Payload { name: format!("{name} {values:?}"), fields: all, ..with(&[], &["hello"], refused) }
}

pub fn with_trailers(fields: &[(&'static str, &'static str)], refused: bool) -> Payload {
    let base = with(&[], &["hello"], refused);
    in_content(Payload { name: format!("trailers {fields:?}"), trailers: Some(fields.to_vec()), ..base })
}

/// Where a head is cut into HEADERS and CONTINUATION. What is wrong with it stands before or behind the cut, which must not
/// matter.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    Nowhere,
    InTheMiddle,
    BeforeTheLastByte,
}

impl Cut {
    fn at(self, length: usize) -> Option<usize> {
        match self {
            Cut::Nowhere => None,
            Cut::InTheMiddle => Some(length / 2),
            Cut::BeforeTheLastByte => Some(length - 1),
        }
    }
}

impl Payload {
    pub fn unseen(self) -> Payload {
        Payload { unseen: true, ..self }
    }

    fn fill(text: &str, target: &str, number: usize) -> String {
        text.replace('~', target).replace("@@@@@", &format!("{number:05}"))
    }

    /// Whether its frames are padded differs with its number.
    pub fn frames(&self, target: &str, number: usize, method: &str, cut: Cut) -> Vec<Frame> {
        let fill = |text: &str| Payload::fill(text, target, number);
        let all: Fields = self.fields.iter().map(|(name, value)| (name.clone(), fill(value))).collect();
        let as_method = |name: &str, value: &str| {
            if name == ":method" { value.replacen("POST", method, 1) } else { value.to_owned() }
        };
        let all: Fields = all.iter().map(|(name, value)| (name.clone(), as_method(name, value))).collect();
        // The last field is nobody's fault, so that what is wrong may end before the cut.
        let all = [&all[..], &fields(&[("x-last", "1")])].concat();
        let head = block(all.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut frames = match cut.at(head.len()) {
            Some(at) => vec![Frame::new(HEADERS, 0, &head[..at]), Frame::new(CONTINUATION, END_HEADERS, &head[at..])],
            None => vec![Frame::new(HEADERS, END_HEADERS, head)],
        };
        for piece in &self.data {
            let piece = fill(piece).into_bytes();
            frames.push(match number % 2 {
                0 => Frame::new(DATA, PADDED, [&[3], &piece[..], b"0\r\n"].concat()),
                _ => Frame::new(DATA, 0, piece),
            });
        }
        if let Some(trailers) = &self.trailers {
            frames.push(Frame::new(HEADERS, END_HEADERS, block(trailers.iter().copied())));
        }
        // A CONTINUATION ends no stream; the HEADERS before it does.
        let last = if frames.last().is_some_and(|last| last.kind == CONTINUATION) { 0 } else { frames.len() - 1 };
        frames[last].flags |= END_STREAM;
        frames
    }

    pub fn content(&self, number: usize) -> Vec<u8> {
        Payload::fill(&self.data.concat(), "", number).into_bytes()
    }
}
