//! An image of nothing, pushed, pulled and deleted as a client does it: what all other checks are for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::json;

use super::door::Door;
use super::finding::Findings;
use crate::cli::client::{MAX_ANSWER, body, reason};
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::storage::{OwnKey, Storage};

const LOGIN: &str = "login";
const PUSH: &str = "push";
const PULL: &str = "pull";
const DELETE: &str = "delete";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// An archive without files is two blocks of zeros. What follows its end nobody reads: it makes this layer one that no image of
/// somebody's has, from whose repository it would be deleted too.
const END_OF_TAR: usize = 1024;
const MARK: &[u8] = b"pushed by `entrepot doctor`, which deletes it again\n";

/// The image. Its blobs are always the same, so that what a deletion leaves to be collected is there once; its manifest says which
/// probe it is of, so that one that runs beside it deletes its own.
struct Image {
    /// Config and layer.
    blobs: Vec<(Digest, Vec<u8>)>,
    manifest: Vec<u8>,
    digest: Digest,
}

impl Image {
    fn new(probe: &str) -> Self {
        let of = |bytes: &[u8]| Digest::of(Algorithm::Sha256, bytes);
        let mut tar = vec![0; END_OF_TAR];
        tar.extend_from_slice(MARK);
        let layer = of(&tar);
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [layer.to_string()] },
        });
        let config = config.to_string().into_bytes();
        let described = |media_type: &str, bytes: &[u8]| json!({ "mediaType": media_type, "digest": of(bytes).to_string(), "size": bytes.len() });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described(CONFIG, &config),
            "layers": [described(LAYER, &tar)],
            "annotations": { "org.opencontainers.image.description": format!("entrepot doctor: {probe} may be deleted") },
        });
        let manifest = manifest.to_string().into_bytes();
        let digest = of(&manifest);
        Image { blobs: vec![(of(&config), config), (layer, tar)], manifest, digest }
    }
}

/// Why a step came to nothing.
struct Refused {
    status: Option<StatusCode>,
    why: String,
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Refused { status: None, why }
    }
}

/// The whole walk.
pub struct Probe {
    door: Arc<Door>,
    repository: RepositoryName,
    /// Whether any route takes pushes at all.
    takes_pushes: bool,
    storage: Option<Arc<Storage>>,
    tag: String,
    image: Image,
    /// Something may have been written, and was not deleted yet.
    left: AtomicBool,
}

impl Probe {
    /// `storage`: the registry's own, where it can be opened: what is left of an empty repository is removed there.
    pub fn new(door: Arc<Door>, repository: RepositoryName, takes_pushes: bool, storage: Option<Arc<Storage>>) -> Self {
        let tag = format!("doctor-{}", uuid::Uuid::new_v4().simple());
        let image = Image::new(&tag);
        Probe { door, repository, takes_pushes, storage, tag, image, left: AtomicBool::new(false) }
    }

    /// Whether the login is right; without one, whether one is needed.
    pub async fn login(&self) -> Findings {
        let mut findings = Findings::of(LOGIN);
        let answer = match self.door.ask(Method::GET, "/v2/", HeaderMap::new(), Vec::new()).await {
            Ok(answer) => answer,
            Err(why) => {
                findings.error(
                    format!("/v2/ does not answer: {why}"),
                    "see the log of Entrepot: `journalctl -u entrepot`, or wherever `serve` writes to",
                );
                return findings;
            }
        };
        match (answer.status().as_u16(), self.door.has_access()) {
            (200, true) => findings.ok("/v2/ takes the login"),
            (200, false) if self.door.has_shown() => findings.ok(
                "/v2/ asks for a login; none was given, and it answers the token that everybody gets: what that may do is tried",
            ),
            (200, false) => findings.ok("/v2/ answers everybody"),
            (401 | 403, true) => findings.error(
                "the user or the password is wrong",
                "`entrepot user passwd FILE NAME` sets a password; robots log in with the secret that `entrepot token create` printed",
            ),
            (401 | 403, false) => findings.warning(
                "a login is needed, and none was given: what needs one is not tried",
                "give --user NAME and --password-file FILE (- for stdin)",
            ),
            (status, _) => {
                let why = reason(answer).await;
                findings.error(format!("/v2/ answers {status}: {why}"), "see the log of Entrepot: `journalctl -u entrepot`, or wherever `serve` writes to");
            }
        }
        findings
    }

    /// Push and pull. Whatever comes of it, [`Self::delete`] has to follow.
    pub async fn walk(&self) -> Findings {
        let (mut push, mut pull) = (Findings::of(PUSH), Findings::of(PULL));
        if !self.takes_pushes {
            push.ok("no route takes pushes: nothing was tried");
            return push;
        }
        let (image, tag, repository) = (&self.image, &self.tag, &self.repository);
        match self.push(image, tag).await {
            Ok(()) => {
                push.ok(format!("{repository}:{tag} was pushed"));
                match self.pull(image, tag).await {
                    Ok(()) => pull.ok("it comes back as it was pushed"),
                    Err(refused) => {
                        pull.error(format!("it does not come back: {}", refused.why), advice(&refused, "pull"))
                    }
                }
            }
            Err(refused) if !self.door.has_access() && is_of_login(&refused) => push.warning(
                format!("{repository} cannot be pushed to without a login, and none was given"),
                "give --user NAME and --password-file FILE (- for stdin)",
            ),
            Err(refused) => {
                push.error(format!("{repository} cannot be pushed to: {}", refused.why), advice(&refused, "push"))
            }
        }
        push.found.append(&mut pull.found);
        push
    }

    async fn push(&self, image: &Image, tag: &str) -> Result<(), Refused> {
        for (digest, bytes) in &image.blobs {
            self.upload(digest, bytes).await?;
        }
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(MANIFEST))]);
        let path = self.path(&format!("manifests/{tag}"));
        self.expect(Method::PUT, &path, headers, image.manifest.clone(), StatusCode::CREATED).await.map(drop)
    }

    async fn upload(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Refused> {
        let begin = self.path("blobs/uploads/");
        let begun = self.expect(Method::POST, &begin, HeaderMap::new(), Vec::new(), StatusCode::ACCEPTED).await?;
        let location = begun.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| "the upload has no Location".to_owned())?.to_owned();
        self.left.store(true, Ordering::Relaxed);
        let joint = if location.contains('?') { '&' } else { '?' };
        let close = format!("{location}{joint}digest={digest}");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))]);
        match self.expect(Method::PUT, &close, headers, bytes.to_vec(), StatusCode::CREATED).await {
            Ok(_) => Ok(()),
            Err(refused) => {
                // An upload that stays open ends by itself some day.
                let _ = self.door.ask(Method::DELETE, &location, HeaderMap::new(), Vec::new()).await;
                Err(refused)
            }
        }
    }

    async fn pull(&self, image: &Image, tag: &str) -> Result<(), Refused> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(MANIFEST))]);
        let manifest = self.path(&format!("manifests/{tag}"));
        self.comes(&manifest, headers, &image.manifest).await?;
        for (digest, bytes) in &image.blobs {
            self.comes(&self.path(&format!("blobs/{digest}")), HeaderMap::new(), bytes).await?;
        }
        Ok(())
    }

    async fn comes(&self, path: &str, headers: HeaderMap, expected: &[u8]) -> Result<(), Refused> {
        let answer = self.door.ask(Method::GET, path, headers, Vec::new()).await?;
        if answer.status().is_redirection() {
            // Clients are led to the object store itself, whose address need not be one for us.
            return Ok(());
        }
        let answer = self.judged(Method::GET, path, answer, StatusCode::OK).await?;
        match body(answer, MAX_ANSWER).await? == expected {
            true => Ok(()),
            false => Err(format!("{path} has other bytes than were pushed").into()),
        }
    }

    /// Takes away what [`Self::walk`] has left.
    pub async fn delete(&self) -> Findings {
        let mut findings = Findings::of(DELETE);
        if !self.left.load(Ordering::Relaxed) {
            return findings;
        }
        let (image, repository) = (&self.image, &self.repository);
        let mut refusals = Vec::new();
        let mut paths = vec![self.path(&format!("manifests/{}", image.digest))];
        paths.extend(image.blobs.iter().map(|(digest, _)| self.path(&format!("blobs/{digest}"))));
        for path in &paths {
            match self.door.ask(Method::DELETE, path, HeaderMap::new(), Vec::new()).await {
                // What was never pushed is not there.
                Ok(answer) if answer.status().is_success() || answer.status() == StatusCode::NOT_FOUND => {}
                Ok(answer) => {
                    let status = answer.status();
                    refusals.push(Refused {
                        status: Some(status),
                        why: format!("{}: {}", status.as_u16(), reason(answer).await),
                    });
                }
                Err(why) => refusals.push(why.into()),
            }
        }
        if let Some(refused) = refusals.first() {
            let what = format!("what was pushed to {repository} stays: {}", refused.why);
            let advice = match refused.status {
                Some(StatusCode::METHOD_NOT_ALLOWED) => {
                    "deleting is switched off ([registry] delete, or the peers' storage.delete.enabled): switch it on, or leave the \
                     image, which is small"
                        .to_owned()
                }
                Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                    "a rule lets this user push and not delete: right if you want it so; `entrepot repo rm` removes the image".to_owned()
                }
                _ => "`entrepot repo rm` removes it later".to_owned(),
            };
            findings.warning(what, advice);
            return findings;
        }
        self.left.store(false, Ordering::Relaxed);
        if let Some(storage) = &self.storage {
            self.forget(storage).await;
        }
        findings.ok("it was deleted; its bytes, less than 3 KiB, go with the next collection of garbage");
        findings
    }

    /// Takes away what is left of a repository that holds nothing: else it would be on the list of them for ever. Best effort.
    async fn forget(&self, storage: &Storage) {
        let name = &self.repository;
        if storage.repository_emptied(name).await.is_err() || storage.repository_exists(name).await.unwrap_or(true) {
            return;
        }
        let _ = storage.own_delete(&OwnKey::Revisions(name.clone())).await;
    }

    async fn expect(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        status: StatusCode,
    ) -> Result<reqwest::Response, Refused> {
        let answer = self.door.ask(method.clone(), path, headers, body).await?;
        self.judged(method, path, answer, status).await
    }

    /// The path is shown without its query, where the state of an upload may be.
    async fn judged(
        &self,
        method: Method,
        path: &str,
        answer: reqwest::Response,
        expected: StatusCode,
    ) -> Result<reqwest::Response, Refused> {
        let status = answer.status();
        if status == expected {
            return Ok(answer);
        }
        let path = path.split('?').next().unwrap_or_default().to_owned();
        let why = format!("{method} {path} is answered with {}: {}", status.as_u16(), reason(answer).await);
        Err(Refused { status: Some(status), why })
    }

    fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository)
    }
}

fn is_of_login(refused: &Refused) -> bool {
    matches!(refused.status, Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN))
}

fn advice(refused: &Refused, verb: &str) -> String {
    match refused.status.map(|status| status.as_u16()) {
        Some(401 | 403) => {
            format!(
                "no rule allows it: `entrepot auth explain NAME {verb} REPOSITORY` says why; --repository names another one"
            )
        }
        Some(405) => "[registry] read_only is true, or the route of this repository has no `write`: set it where pushes are wanted".into(),
        Some(404) => "no route answers this repository: see [[route]]; --repository names another one".into(),
        Some(503) => "is `entrepot maintenance` on, or storage or a peer down? see the other lines".into(),
        Some(507) => "the disk of the storage is nearly full: see `disk`".into(),
        _ => "see the log of Entrepot: `journalctl -u entrepot`, or wherever `serve` writes to".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_image_is_whole_and_only_its_manifest_is_of_one_probe() {
        let (one, other) = (Image::new("a"), Image::new("b"));
        assert!(one.digest != other.digest && one.blobs == other.blobs);
        let manifest: Value = serde_json::from_slice(&one.manifest).unwrap();
        let named = [&manifest["config"], &manifest["layers"][0]];
        for ((digest, bytes), named) in one.blobs.iter().zip(named) {
            assert_eq!(
                (named["digest"].as_str(), named["size"].as_u64()),
                (Some(digest.to_string().as_str()), Some(bytes.len() as u64))
            );
        }
        let all: usize = one.blobs.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() + one.manifest.len();
        assert!(all < 3 << 10, "{all}");
    }

    #[test]
    fn a_refusal_leads_to_what_to_do() {
        let of =
            |status: u16| advice(&Refused { status: StatusCode::from_u16(status).ok(), why: String::new() }, "push");
        assert!(
            of(403).contains("auth explain NAME push")
                && of(405).contains("read_only")
                && of(503).contains("maintenance")
        );
    }
}
