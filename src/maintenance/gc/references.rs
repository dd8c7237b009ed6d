//! What the manifests of a repository name: from what is kept of that, and read where nothing is.

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{StreamExt as _, TryStreamExt as _};

use super::reach::Aliases;
use super::view::View;
use super::work::Work;
use crate::oci::manifest::MAX_MANIFEST;
use crate::oci::manifest::named::named;
use crate::oci::{Digest, RepositoryName};
use crate::storage::{Error, Link, References, Refers, blocking};

/// Manifests of one repository that are read at once.
const AT_ONCE: usize = 8;
/// What is larger is parsed on a thread for that.
const INLINE: usize = 64 << 10;
/// Lines of manifests that are gone are left in the file up to this part of it.
const STALE: usize = 4;

/// What was found out.
#[derive(Debug, Default)]
pub struct Read {
    pub references: References,
    /// Manifests of which nobody can tell what they name: not there, damaged, no JSON, or naming content by a hash that we cannot
    /// compute; and links that are torn (`aliases`). Nothing of their repository is taken away then.
    pub unreadable: Vec<Digest>,
}

/// Where a link leads that may be an alias.
enum Led {
    To(Digest),
    /// It is gone.
    Nowhere,
    Torn,
}

impl Work<'_> {
    /// What all manifests of `view` name.
    pub async fn references(&self, view: &View, aliases: &Aliases) -> Result<Read, Error> {
        self.pace.take(1).await;
        let mut references = self.storage.references(&view.name).await?;
        let before = references.len();
        let unread: Vec<Digest> = view
            .revisions
            .iter()
            .map(|(digest, _)| *digest)
            .filter(|digest| references.get(digest).is_none())
            .collect();
        let mut unreadable = self.read_into(&mut references, unread, aliases).await?;
        let read = references.len() - before;
        if read > 0 || before > view.revisions.len() + view.revisions.len() / STALE {
            references.retain(|digest| view.revision(digest).is_some());
            self.pace.take(1).await;
            match self.storage.references_put(&view.name, &references).await {
                // Whoever only wants to know what would go may not be allowed to write.
                Err(error) if self.order.dry => tracing::debug!(%error, "what manifests name is not kept"),
                other => other?,
            }
        }
        let unknown = |digest: &&Digest| references.get(digest).is_some_and(|refers| refers.unknown);
        unreadable.extend(view.revisions.iter().map(|(digest, _)| digest).filter(unknown));
        Ok(Read { references, unreadable })
    }

    /// Reads these manifests; those that cannot be read.
    pub async fn read_into(
        &self,
        references: &mut References,
        unread: Vec<Digest>,
        aliases: &Aliases,
    ) -> Result<Vec<Digest>, Error> {
        let mut unreadable = Vec::new();
        let each: Vec<BoxFuture<'_, _>> = unread
            .into_iter()
            .map(|digest| {
                let target = *aliases.get(&digest).unwrap_or(&digest);
                async move { Ok::<_, Error>((digest, self.refers(&target).await?)) }.boxed()
            })
            .collect();
        let mut found = futures::stream::iter(each).buffer_unordered(AT_ONCE);
        while let Some((digest, refers)) = found.try_next().await? {
            match refers {
                Some(refers) => references.insert(digest, refers),
                None => unreadable.push(digest),
            }
        }
        Ok(unreadable)
    }

    /// What a manifest names; `None` if nobody can tell.
    pub async fn refers(&self, digest: &Digest) -> Result<Option<Refers>, Error> {
        let Some(bytes) = self.manifest(digest).await? else { return Ok(None) };
        if bytes.len() <= INLINE {
            return Ok(named(&bytes).map(Refers::from));
        }
        blocking(move || Ok::<_, Error>(named(&bytes).map(Refers::from))).await
    }

    /// The bytes of a manifest, proven. They are brought back from the trash if they are there: whoever asks has found a link to them.
    pub async fn manifest(&self, digest: &Digest) -> Result<Option<bytes::Bytes>, Error> {
        self.pace.take(1).await;
        let mut found = self.small_blob(digest).await?;
        if found.is_none() && !self.order.dry && self.storage.blob_rescue(digest).await?.is_some() {
            found = self.small_blob(digest).await?;
        }
        let Some(bytes) = found else { return Ok(None) };
        let (text, algorithm) = (bytes.clone(), digest.algorithm());
        let hash = move || Digest::of(algorithm, &text);
        let proven = if bytes.len() <= INLINE { hash() } else { blocking(move || Ok::<_, Error>(hash())).await? };
        Ok((proven == *digest).then_some(bytes))
    }

    /// One that is larger than any manifest, or that storage does not give though it answers, is none: its repository keeps all.
    async fn small_blob(&self, digest: &Digest) -> Result<Option<bytes::Bytes>, Error> {
        match self.storage.blob_bytes(digest, 2 * MAX_MANIFEST as u64).await {
            Err(Error::TooLarge(_) | Error::Damaged(_) | Error::Failed(_)) => Ok(None),
            Err(Error::Refused(_)) if self.storage.is_local() => Ok(None),
            other => other,
        }
    }

    /// Where the bytes of links are that may be aliases; and those that cannot be read, of which nobody can tell what needs what they
    /// led to: nothing of their repository is taken away then.
    pub async fn aliases(&self, view: &View) -> Result<(Aliases, Vec<Digest>), Error> {
        let name: &RepositoryName = &view.name;
        let each = view.may_be_aliases().map(|(digest, is_revision)| {
            let link = match is_revision {
                true => Link::Revision(name.clone(), *digest),
                false => Link::Layer(name.clone(), *digest),
            };
            self.leads(*digest, link).boxed()
        });
        let each: Vec<BoxFuture<'_, _>> = each.collect();
        let mut found = futures::stream::iter(each).buffer_unordered(AT_ONCE);
        let (mut aliases, mut torn) = (Aliases::new(), Vec::new());
        while let Some((digest, led)) = found.try_next().await? {
            match led {
                Led::To(target) => {
                    aliases.insert(digest, target);
                }
                Led::Torn => torn.push(digest),
                Led::Nowhere => {}
            }
        }
        Ok((aliases, torn))
    }

    async fn leads(&self, digest: Digest, link: Link) -> Result<(Digest, Led), Error> {
        self.pace.take(1).await;
        let led = match self.storage.link(&link).await {
            Ok(target) => target.map_or(Led::Nowhere, Led::To),
            Err(Error::Damaged(_)) => Led::Torn,
            Err(error) => return Err(error),
        };
        Ok((digest, led))
    }
}
