//! The version of what we write beside distribution's tree, and the one way to write and read it.
//!
//! - What is JSON begins with a field `version`, which [`read`] checks. Written before there was such a field, it is version 1.
//!   A version that is newer than ours is [`Error::Newer`]: nobody reads on, and nobody writes over it.
//! - What is no JSON (bytes of uploads, a media type, markers that hold nothing but chance) has its version in its key:
//!   `entrepot/v1/…`. Another format gets another key, so that a program that does not know it never meets it.
//!
//! Fields may be added without a new version, if programs that do not know them may pass over them and lose them.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Error;

/// One kind of our own files. It is a JSON object without a `version` of its own.
pub(crate) trait Format: Serialize + DeserializeOwned {
    /// What it is, for who reads an error.
    const WHAT: &'static str;
    /// The newest version that we can read, and the one that we write.
    const VERSION: u32;
}

#[derive(Serialize)]
struct Written<'a, T> {
    version: u32,
    #[serde(flatten)]
    content: &'a T,
}

/// What is read first, of whatever else is there.
#[derive(Deserialize)]
struct Head {
    #[serde(default = "first")]
    version: u32,
}

fn first() -> u32 {
    1
}

/// Fails only for what cannot be JSON.
pub(crate) fn write<T: Format>(content: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(&Written { version: T::VERSION, content }).map_err(|error| Error::Failed(error.to_string()))
}

/// [`Error::Newer`] if it is of a version that we do not know; `Error::Damaged` if it is none of our files.
pub(crate) fn read<T: Format>(bytes: &[u8]) -> Result<T, Error> {
    check::<T>(bytes)?;
    serde_json::from_slice(bytes).map_err(damaged::<T>)
}

/// As [`read`], of the version only: for who is about to write over it.
pub(crate) fn check<T: Format>(bytes: &[u8]) -> Result<(), Error> {
    let Head { version } = serde_json::from_slice(bytes).map_err(damaged::<T>)?;
    if version > T::VERSION {
        return Err(Error::Newer { what: T::WHAT, found: version, known: T::VERSION });
    }
    if version == 0 {
        return Err(Error::Damaged(format!("{}: there is no version 0", T::WHAT)));
    }
    Ok(())
}

fn damaged<T: Format>(error: serde_json::Error) -> Error {
    Error::Damaged(format!("{}: {error}", T::WHAT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        size: u64,
        names: Vec<String>,
    }

    impl Format for Thing {
        const WHAT: &'static str = "a thing";
        const VERSION: u32 = 2;
    }

    #[test]
    fn the_version_comes_first_and_is_read_back() {
        let thing = Thing { size: u64::MAX, names: vec!["a".into()] };
        let bytes = write(&thing).unwrap();
        assert!(bytes.starts_with(br#"{"version":2,"#));
        assert_eq!(read::<Thing>(&bytes).unwrap(), thing);
    }

    #[test]
    fn older_versions_and_none_are_read_and_newer_ones_refused() {
        for version in ["", r#""version":1,"#, r#""version":2,"#] {
            let text = format!(r#"{{{version}"size":1,"names":[]}}"#);
            assert_eq!(read::<Thing>(text.as_bytes()).unwrap().size, 1, "{text}");
        }
        // Whatever else it has become, and wherever the version stands.
        for text in [r#"{"version":3}"#, r#"{"sizes":[[1]],"version":3}"#, r#"{"version":4000000000,"size":"x"}"#] {
            let error = read::<Thing>(text.as_bytes()).unwrap_err();
            assert!(matches!(error, Error::Newer { known: 2, .. }), "{text}: {error}");
            assert!(error.to_string().contains("a thing"), "{error}");
        }
        for text in ["", "{", "[]", "null", r#"{"version":"x"}"#, r#"{"version":0,"size":1,"names":[]}"#, "{}"] {
            assert!(matches!(read::<Thing>(text.as_bytes()), Err(Error::Damaged(_))), "{text}");
        }
    }
}
