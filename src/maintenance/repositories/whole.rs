//! All tags of a repository, or those of a pattern, in another one.

use globset::{GlobBuilder, GlobMatcher};
use serde::Serialize;

use super::copy::{Way, tag_now};
use super::{Image, Repositories, RepositoryError, Step};
use crate::oci::{Reference, RepositoryName, Tag};

/// Tags that failed, of which a report tells.
const MAX_TOLD: usize = 1000;

/// What was copied of a repository.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CopiedTags {
    pub source: String,
    pub target: String,
    /// Tags that are meant, and of these those that led there before, and those that could not be copied.
    pub tags: usize,
    pub unchanged: usize,
    pub failed: usize,
    /// The first of them, and why.
    pub failures: Vec<Failure>,
    pub manifests: usize,
    pub blobs: usize,
}

/// A tag that could not be copied.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    pub tag: String,
    pub message: String,
}

impl Repositories<'_> {
    /// Copies each tag that matches, or all. One that fails does not keep the others, unless they would fail by the same.
    pub async fn copy_tags(
        &self,
        source: &RepositoryName,
        target: &RepositoryName,
        (pattern, referrers): (Option<&str>, bool),
    ) -> Result<CopiedTags, RepositoryError> {
        if source == target {
            return Err(RepositoryError::Useless(format!("{source} is both source and target")));
        }
        let matcher = pattern.map(glob).transpose()?;
        let tags = self.registry.storage().tags(source).await?;
        let absent = || RepositoryError::Absent(format!("there is no repository {source}"));
        let tags: Vec<Tag> = tags
            .ok_or_else(absent)?
            .into_iter()
            .filter(|tag| matcher.as_ref().is_none_or(|matcher| matcher.is_match(tag.as_str())))
            .collect();
        if let (true, Some(pattern)) = (tags.is_empty(), pattern) {
            return Err(RepositoryError::Absent(format!("{source} has no tag that matches '{pattern}'")));
        }
        let mut report = CopiedTags {
            source: source.to_string(),
            target: target.to_string(),
            tags: tags.len(),
            ..CopiedTags::default()
        };
        let mut way = Way::new(self, (source, target), referrers);
        for (place, tag) in tags.iter().enumerate() {
            let step = match self.one(&mut way, (source, target), tag).await {
                Ok((digest, unchanged)) => {
                    report.unchanged += usize::from(unchanged);
                    Step::Tag { tag: tag.to_string(), digest, n: place + 1, of: tags.len() }
                }
                Err(error) if error.is_of_all() => return Err(error),
                Err(error) => {
                    report.failed += 1;
                    let failure = Failure { tag: tag.to_string(), message: error.to_string() };
                    if report.failures.len() < MAX_TOLD {
                        report.failures.push(failure.clone());
                    }
                    Step::TagFailed { tag: failure.tag, message: failure.message, n: place + 1, of: tags.len() }
                }
            };
            (self.tell)(step);
        }
        (report.manifests, report.blobs) = way.brought;
        Ok(report)
    }

    /// Where the tag leads, and whether it did so before.
    async fn one(
        &self,
        way: &mut Way<'_>,
        (source, target): (&RepositoryName, &RepositoryName),
        tag: &Tag,
    ) -> Result<(crate::oci::Digest, bool), RepositoryError> {
        let image = Image { name: source.clone(), reference: Reference::Tag(tag.clone()) };
        let held = self.needed(&image).await?;
        let before = tag_now(self.registry.storage(), target, tag).await?;
        way.bring(&held, Some(tag)).await?;
        Ok((held.digest, before == Some(held.digest)))
    }
}

fn glob(pattern: &str) -> Result<GlobMatcher, RepositoryError> {
    let built = GlobBuilder::new(pattern).literal_separator(true).build();
    let useless = |error: globset::Error| {
        RepositoryError::Useless(format!("'{}' is no pattern of tags: {}", pattern.escape_debug(), error.kind()))
    };
    built.map(|glob| glob.compile_matcher()).map_err(useless)
}
