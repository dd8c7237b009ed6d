//! An image of a repository here, as an operator names it: `team/app:1`, `team/app@sha256:…`. Nothing is made up: no registry, no
//! `library/`, no `latest`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::oci::{Digest, NameError, Reference, ReferenceError, RepositoryName, Tag};

/// A repository and what is meant in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Image {
    pub name: RepositoryName,
    pub reference: Reference,
}

/// A repository, or an image of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    Repository(RepositoryName),
    Image(Image),
}

/// Why some text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    #[error("'{0}' names no repository: {1}")]
    Name(String, NameError),
    #[error("'{0}' begins with a registry's address: name the repository as it is here, without it")]
    Host(String),
    #[error("'{0}': {1}")]
    Reference(String, ReferenceError),
    #[error("'{0}' says neither tag nor digest: write REPOSITORY:TAG or REPOSITORY@DIGEST")]
    Bare(String),
}

impl Place {
    pub fn name(&self) -> &RepositoryName {
        match self {
            Place::Repository(name) => name,
            Place::Image(image) => &image.name,
        }
    }
}

impl Image {
    pub fn tag(&self) -> Option<&Tag> {
        match &self.reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        }
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let shown = || text.escape_debug().take(300).collect::<String>();
        let reference = |error: ReferenceError| PlaceError::Reference(shown(), error);
        let (name, named) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = digest.parse::<Digest>().map_err(|error| reference(ReferenceError::Digest(error)))?;
                (name, Some(Reference::Digest(digest)))
            }
            None => match text.rsplit_once(':') {
                Some((name, tag)) if !tag.contains('/') => {
                    (name, Some(Reference::Tag(tag.parse().map_err(reference)?)))
                }
                _ => (text, None),
            },
        };
        // `team/app:1@sha256:…`: the digest is what is meant, as for clients.
        let name = match (&named, name.rsplit_once(':')) {
            (Some(Reference::Digest(_)), Some((name, tag))) if tag.parse::<Tag>().is_ok() => name,
            _ => name,
        };
        let name = name.parse::<RepositoryName>().map_err(|error| match name.contains(':') {
            true => PlaceError::Host(shown()),
            false => PlaceError::Name(shown(), error),
        })?;
        Ok(match named {
            Some(reference) => Place::Image(Image { name, reference }),
            None => Place::Repository(name),
        })
    }
}

impl FromStr for Image {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text.parse()? {
            Place::Image(image) => Ok(image),
            Place::Repository(name) => Err(PlaceError::Bare(name.to_string())),
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if matches!(self.reference, Reference::Tag(_)) { ':' } else { '@' };
        write!(f, "{}{sign}{}", self.name, self.reference)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Repository(name) => name.fmt(f),
            Place::Image(image) => image.fmt(f),
        }
    }
}

impl TryFrom<String> for Image {
    type Error = PlaceError;

    fn try_from(text: String) -> Result<Self, PlaceError> {
        text.parse()
    }
}

impl TryFrom<String> for Place {
    type Error = PlaceError;

    fn try_from(text: String) -> Result<Self, PlaceError> {
        text.parse()
    }
}

impl From<Image> for String {
    fn from(image: Image) -> Self {
        image.to_string()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_meant_and_nothing_else() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for text in ["a:1", "team/app:v1.2", "docker.io/library/alpine:3", &format!("team/app@{digest}")] {
            assert_eq!(text.parse::<Image>().unwrap().to_string(), text);
        }
        assert_eq!(format!("a/b:1@{digest}").parse::<Image>().unwrap().to_string(), format!("a/b@{digest}"));
        assert_eq!("a/b".parse::<Place>().unwrap().to_string(), "a/b");
        assert!(matches!("a/b".parse::<Image>(), Err(PlaceError::Bare(_))));
    }

    #[test]
    fn what_is_none_is_told_by_what_is_wrong_with_it() {
        for (text, told) in [
            ("", "names no repository"),
            ("Team/app:1", "names no repository"),
            ("team/app:", "a tag has 1 to 128"),
            ("team/app:-x", "a tag has 1 to 128"),
            ("team/app@sha256:1", "'team/app@sha256:1': "),
            ("localhost:5000/team/app:1", "begins with a registry's address"),
            ("registry.example.com:443/app", "begins with a registry's address"),
            ("a\u{1b}[2J:1", "names no repository"),
        ] {
            let error = text.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains('\u{1b}'), "{text}: {error}");
        }
        let json = serde_json::from_str::<Image>("\"a:1\"").unwrap();
        assert_eq!(serde_json::to_string(&json).unwrap(), "\"a:1\"");
        assert!(serde_json::from_str::<Image>("\"a\"").unwrap_err().to_string().contains("neither tag nor digest"));
    }
}
