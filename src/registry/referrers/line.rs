//! Lines of a list of referrers. Short annotations are kept with them; longer ones are read from the manifest for the page
//! that shows them, so that a line never costs more than some KiB, whatever was pushed.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use crate::oci::{Annotations, Descriptor, Digest, Manifest};
use crate::registry::Registry;
use crate::registry::apart::apart;
use crate::registry::content::ContentCache;
use crate::registry::fan::PER_REQUEST;
use crate::registry::tags::MAX_LIST_BYTES;
use crate::storage::{Error, Storage};

/// Annotations up to so many bytes are kept in memory: those of signatures and attestations have some hundred.
const MAX_KEPT: usize = 4 << 10;
/// Annotations of a referrer beyond this are left out of lists: they are in the manifest itself.
const MAX_ANNOTATIONS: usize = 256 << 10;
/// Manifests that are read for the annotations of one page, and their bytes; the next page has the others.
const MAX_READ: usize = 256;
const MAX_READ_BYTES: u64 = 32 << 20;
/// Memory of a line beside its texts: the descriptor, its allocations, its places in a memo and in an index.
const OVERHEAD: usize = 400;
/// A line's keys and its size, as JSON.
const KEYS: usize = 120;

/// What a list says of a manifest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::registry) struct Line {
    /// Without annotations that are left to the manifest.
    pub descriptor: Descriptor,
    /// How many bytes of them are.
    pub left: usize,
}

impl Line {
    /// As it is kept of a manifest that can be read again.
    pub(super) fn of_manifest(descriptor: Descriptor) -> Self {
        let line = Line::of_index(descriptor);
        if line.annotations() > MAX_KEPT { line.shed() } else { line }
    }

    /// As it is kept of an index that has it among others.
    pub(super) fn of_index(mut descriptor: Descriptor) -> Self {
        if descriptor.annotations.as_ref().is_some_and(|annotations| annotations.weight() > MAX_ANNOTATIONS) {
            descriptor.annotations = None;
        }
        Line { descriptor, left: 0 }
    }

    /// Leaves its annotations to the manifest.
    pub(super) fn shed(mut self) -> Self {
        self.left += self.annotations();
        self.descriptor.annotations = None;
        self
    }

    fn annotations(&self) -> usize {
        self.descriptor.annotations.as_ref().map_or(0, Annotations::weight)
    }

    /// About how many bytes it takes in memory.
    pub(super) fn weight(&self) -> usize {
        OVERHEAD + self.texts()
    }

    /// About how many bytes it takes in an answer.
    fn length(&self) -> usize {
        KEYS + self.texts() + self.left
    }

    fn texts(&self) -> usize {
        let Descriptor { media_type, digest, artifact_type, urls, .. } = &self.descriptor;
        let urls: usize = urls.iter().flatten().map(|url| url.len() + 40).sum();
        media_type.len() + digest.len() + artifact_type.as_ref().map_or(0, String::len) + urls + self.annotations()
    }
}

/// How many of them fit on a page; at least one, unless none is wanted.
pub(super) fn page_length(found: &[Arc<Line>], n: Option<usize>) -> usize {
    let (mut bytes, mut read, mut read_bytes) = (0, 0, 0_u64);
    let fitting = found.iter().take_while(|line| {
        let first = bytes == 0;
        bytes += line.length();
        if line.left > 0 {
            read += 1;
            read_bytes = read_bytes.saturating_add(line.descriptor.size);
        }
        first || (bytes <= MAX_LIST_BYTES && read <= MAX_READ && read_bytes <= MAX_READ_BYTES)
    });
    fitting.count().min(n.unwrap_or(usize::MAX))
}

/// The lines of a page, with all their annotations.
pub(super) async fn whole(registry: &Registry, page: Vec<Arc<Line>>) -> Result<Vec<Arc<Line>>, Error> {
    let whole = page.into_iter().map(|line| async move {
        if line.left == 0 {
            return Ok(line);
        }
        let annotations = registry
            .bounds
            .fan
            .ask(annotations(&registry.stores.storage, &registry.reads.content, &line.descriptor.digest))
            .await?;
        Ok::<_, Error>(Arc::new(Line::of_index(Descriptor { annotations, ..line.descriptor.clone() })))
    });
    stream::iter(whole).buffered(PER_REQUEST).try_collect().await
}

/// `None` too where the manifest has gone since, or is damaged.
async fn annotations(storage: &Storage, content: &ContentCache, digest: &str) -> Result<Option<Annotations>, Error> {
    let Ok(digest) = digest.parse::<Digest>() else { return Ok(None) };
    match content.manifest(storage, &digest).await {
        Ok(Some(kept)) => {
            apart(kept.bytes.len(), move || Manifest::parse(&kept.bytes).ok().and_then(|read| read.annotations)).await
        }
        Ok(None) => Ok(None),
        Err(Error::Damaged(_) | Error::TooLarge(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(bytes: usize) -> Descriptor {
        let annotations = Some(Annotations(vec![("k".into(), "v".repeat(bytes))]));
        Descriptor { annotations, ..Descriptor::default() }
    }

    #[test]
    fn a_line_is_small_whatever_its_annotations_are() {
        assert_eq!(Line::of_manifest(annotated(1000)).left, 0);
        let many = Annotations((0..10_000).map(|n| (n.to_string(), String::new())).collect());
        for descriptor in [annotated(MAX_KEPT), annotated(200 << 10)] {
            let line = Line::of_manifest(descriptor);
            assert!(line.left >= MAX_KEPT && line.weight() <= OVERHEAD, "{}", line.weight());
        }
        let many = Line::of_manifest(Descriptor { annotations: Some(many), ..Descriptor::default() });
        assert!(many.left == 0 && many.weight() <= OVERHEAD, "pairs weigh too: {many:?}");
    }

    #[test]
    fn endless_annotations_are_left_out() {
        let line = Line::of_manifest(annotated(MAX_ANNOTATIONS));
        assert_eq!((line.left, line.descriptor.annotations), (0, None));
    }

    #[test]
    fn a_page_holds_at_least_one() {
        let of = |weight: usize| Arc::new(Line { left: weight, ..Line::default() });
        assert_eq!(page_length(&[of(MAX_LIST_BYTES), of(1)], None), 1);
        assert_eq!(page_length(&[of(1), of(1), of(1)], None), 3);
        assert_eq!(page_length(&[of(1), of(1), of(1)], Some(2)), 2);
        assert_eq!(page_length(&[of(1)], Some(0)), 0);
        assert_eq!(page_length(&[], None), 0);
        let many: Vec<_> = (0..MAX_READ + 1).map(|_| of(1)).collect();
        assert_eq!(page_length(&many, None), MAX_READ);
        let large = Arc::new(Line { left: 1, descriptor: Descriptor { size: 20 << 20, ..Descriptor::default() } });
        assert_eq!(page_length(&[large.clone(), large], None), 1);
    }
}
