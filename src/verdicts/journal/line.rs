//! One line of the journal, such as `{"hold":["3q2-7wAAAAAAAAAAAAAAAA",1763719200000000000]}`.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use crate::verdicts::clock::Moment;
use crate::verdicts::facts::{PingAnswer, TagAnswer};
use crate::verdicts::key::Id;

/// Changes with the meaning of the lines or of the ids; a file of another version is not read.
pub const VERSION: u32 = 1;

/// A fact or a withdrawal, and when it was asked or happened. The order of lines does not matter.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// The first line; `check` tells whose key the ids were made with. Its name in the file is older than ours.
    #[serde(rename = "memory")]
    Verdicts {
        version: u32,
        check: String,
    },
    Read(Id, Moment),
    Hold(Id, Moment),
    Tag(Id, Moment, Arc<TagAnswer>),
    Ping(Id, Moment, Arc<PingAnswer>),
    /// Takes one fact back.
    Forget(Id, Moment),
    /// Takes back what a repository held and its tags; by slot of `Marks`.
    Deleted(u16, Moment),
    /// Takes a tag back; by slot of `Marks`.
    Moved(u16, Moment),
}

impl Line {
    /// Whether losing this line would let something count that was taken back.
    pub fn withdraws(&self) -> bool {
        matches!(self, Line::Forget(..) | Line::Deleted(..) | Line::Moved(..))
    }

    /// Appends the line and its newline; false (and nothing appended) if it cannot be written as JSON.
    pub fn append_to(&self, buffer: &mut Vec<u8>) -> bool {
        let before = buffer.len();
        let good = serde_json::to_writer(&mut *buffer, self).is_ok();
        if good {
            buffer.push(b'\n')
        } else {
            buffer.truncate(before)
        }
        good
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        bytes.try_into().map(Id).map_err(|_| D::Error::custom("an id has 16 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::{Algorithm, Digest};

    /// What is written today is read by every version of this format, and the other way round: a first line that is not known
    /// would have all verdicts begin anew.
    #[test]
    fn the_first_line_stays_as_it_was_first_written() {
        let line = Line::Verdicts { version: 1, check: "c".to_owned() };
        assert_eq!(serde_json::to_string(&line).unwrap(), r#"{"memory":{"version":1,"check":"c"}}"#);
    }

    #[test]
    fn every_line_reads_back() {
        let id = Id([0xfe; 16]);
        let answer =
            TagAnswer { digest: Digest::of(Algorithm::Sha512, b"x"), media_type: "a\"\n\\".into(), size: u64::MAX };
        for line in [
            Line::Verdicts { version: VERSION, check: "x".into() },
            Line::Read(id, 1),
            Line::Hold(id, u64::MAX),
            Line::Tag(id, 2, Arc::new(answer)),
            Line::Ping(id, 3, Arc::new(PingAnswer { status: 401, www_authenticate: vec!["Basic realm=\"x\"".into()] })),
            Line::Forget(id, 4),
            Line::Deleted(65535, 5),
            Line::Moved(0, 6),
        ] {
            let mut text = Vec::new();
            assert!(line.append_to(&mut text));
            assert_eq!(text.iter().filter(|b| **b == b'\n').count(), 1);
            assert_eq!(serde_json::from_slice::<Line>(&text).unwrap(), line);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_no_panic(text in "\\{\"(read|hold|tag|forget)\":\\[\"[a-zA-Z_-]{0,24}\",[0-9]{0,22}\\]\\}") {
            let _ = serde_json::from_str::<Line>(&text);
        }
    }
}
