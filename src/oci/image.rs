//! Names of images as people write them for docker and its like: `alpine`, `team/app:1`, `ghcr.io/team/app@sha256:…`.

use std::fmt;
use std::str::FromStr;

use super::reference::{Reference, ReferenceError, Tag};

/// What is meant where no registry is named.
const DEFAULT_REGISTRY: &str = "docker.io";
/// What is meant where neither a tag nor a digest is named.
const DEFAULT_TAG: &str = "latest";
/// Longest text that is looked at, in bytes: a host, a name, a tag and a digest.
pub const MAX_IMAGE: usize = 1024;

/// An image as somebody names it. Which repository that is here depends on the remotes: see `mirror`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// All that stands before the reference, in lower case up to the first slash.
    pub place: String,
    /// The digest where there are both, as clients have it; `latest` where there is neither.
    pub reference: Reference,
}

/// Why some text names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageNameError {
    #[error("an image is written [REGISTRY/]NAME[:TAG][@DIGEST], in at most {MAX_IMAGE} characters")]
    Shape,
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

impl ImageName {
    /// Registry and name as docker reads them: what stands before the first slash is a registry if it can be no other than a
    /// host, and else all is a name at Docker Hub.
    pub fn familiar(&self) -> (&str, &str) {
        match self.place.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
            _ => (DEFAULT_REGISTRY, &self.place),
        }
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_IMAGE {
            return Err(ImageNameError::Shape);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Reference::Digest(digest.parse().map_err(ReferenceError::Digest)?))),
            None => (text, None),
        };
        // A colon before the last slash is a port's.
        let (place, tag) = match rest.rsplit_once(':') {
            Some((place, tag)) if !tag.contains('/') => (place, Some(tag.parse::<Tag>()?)),
            _ => (rest, None),
        };
        if place.is_empty() || place.split('/').any(str::is_empty) {
            return Err(ImageNameError::Shape);
        }
        let (first, after) = place.split_at(place.find('/').unwrap_or(0));
        let place = format!("{}{after}", first.to_ascii_lowercase());
        let tag = || Ok::<_, ReferenceError>(Reference::Tag(tag.map_or_else(|| DEFAULT_TAG.parse(), Ok)?));
        Ok(ImageName { place, reference: digest.map_or_else(tag, Ok)? })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if matches!(self.reference, Reference::Tag(_)) { ':' } else { '@' };
        write!(f, "{}{sign}{}", self.place, self.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> ImageName {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_read_as_docker_reads_it() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, registry, name, reference) in [
            ("alpine", "docker.io", "alpine", "latest"),
            ("alpine:3", "docker.io", "alpine", "3"),
            ("team/app:1", "docker.io", "team/app", "1"),
            ("docker.io/library/alpine", "docker.io", "library/alpine", "latest"),
            ("GHCR.io/team/app:v1", "ghcr.io", "team/app", "v1"),
            ("localhost/app", "localhost", "app", "latest"),
            ("registry:5000/app", "registry:5000", "app", "latest"),
            (&format!("quay.io/a/b:1@{digest}"), "quay.io", "a/b", &digest),
            (&format!("alpine@{digest}"), "docker.io", "alpine", &digest),
        ] {
            let found = image(text);
            assert_eq!(
                (found.familiar(), found.reference.to_string().as_str()),
                ((registry, name), reference),
                "{text}"
            );
        }
    }

    #[test]
    fn what_names_no_image_is_refused() {
        let long = "a".repeat(MAX_IMAGE + 1);
        for text in ["", " ", ":tag", "a//b", "/a", "a/", "a:", "a:-", "a@sha256:1", "a@", &long] {
            assert!(text.parse::<ImageName>().is_err(), "{text}");
        }
    }

    #[test]
    fn it_is_shown_whole() {
        assert_eq!(image("alpine").to_string(), "alpine:latest");
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(image(&format!("a/b:1@{digest}")).to_string(), format!("a/b@{digest}"));
    }
}
