//! One request after the other, each answer compared with the model's.

use serde_json::{Value, json};

use super::{At, Model, Op, REPOSITORIES, Repository, Run, TAGS, blob, digest};
use crate::oci::Digest;
use crate::registry::Config;
use crate::registry::tests::harness::{Harness, artifact, image, index};

impl Run {
    pub(super) async fn new(one: Harness) -> Self {
        let other = Harness::over(Config::default(), one.storage.clone()).await;
        Run { instances: [one, other], model: Model::default() }
    }

    fn repository(&mut self, name: &'static str) -> &mut Repository {
        self.model.repositories.entry(name).or_default()
    }

    pub(super) async fn apply(&mut self, second: bool, op: Op) {
        match op {
            Op::Push { name, blob: content, sha512, wrong } => {
                self.push(second, REPOSITORIES[name], blob(content), sha512, wrong).await;
            }
            Op::Mount { name, from, blob } => self.mount(second, REPOSITORIES[name], from, blob).await,
            Op::Image { name, config, layer, at } => {
                let manifest = image(&digest(&blob(config), false), &digest(&blob(layer), false));
                let needed = [digest(&blob(config), false), digest(&blob(layer), false)];
                self.put(second, REPOSITORIES[name], manifest, &needed, at).await;
            }
            Op::Index { name, children, at } => {
                let child = |n: u8| json!({"mediaType": "m/t", "digest": digest(&[n], false).text(), "size": 1});
                let manifest = index(&(0..children).map(child).collect::<Vec<_>>());
                self.put(second, REPOSITORIES[name], manifest, &[], at).await;
            }
            Op::Artifact { name, subject, note, at } => {
                let subject = self.some_manifest(REPOSITORIES[name], subject);
                let manifest = artifact(&subject, &format!("a/{}", note % 2), &note.to_string());
                self.put(second, REPOSITORIES[name], manifest, &[], at).await;
            }
            Op::DeleteTag { name, tag } => self.delete_tag(second, REPOSITORIES[name], TAGS[tag]).await,
            Op::DeleteManifest { name, manifest } => self.delete_manifest(second, REPOSITORIES[name], manifest).await,
            Op::DeleteBlob { name, blob: content } => {
                let (name, digest) = (REPOSITORIES[name], digest(&blob(content), false));
                let there = self.repository(name).blobs.remove(&digest).is_some();
                let status = self.instance(second).status("DELETE", &format!("/v2/{name}/blobs/{digest}")).await;
                assert_eq!(status, if there { 202 } else { 404 });
            }
            uploading => self.upload(second, uploading).await,
        }
    }

    fn instance(&self, second: bool) -> &Harness {
        &self.instances[usize::from(second)]
    }

    async fn push(&mut self, second: bool, name: &'static str, bytes: Vec<u8>, sha512: bool, wrong: bool) {
        let digest = digest(&bytes, sha512);
        let sent = if wrong { b"other".to_vec() } else { bytes.clone() };
        let target = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let seen = self.instance(second).send("POST", &target, &[], &sent).await;
        assert_eq!(seen.status.as_u16(), if wrong { 400 } else { 201 });
        if !wrong {
            self.repository(name).blobs.insert(digest, bytes);
        }
    }

    async fn upload(&mut self, second: bool, op: Op) {
        let which = match op {
            Op::Begin { name } => {
                let name = REPOSITORIES[name];
                let seen = self.instance(second).send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"").await;
                assert_eq!(seen.status, 202);
                return self.model.uploads.push((name, seen.header("location").to_owned(), Vec::new()));
            }
            Op::Patch { upload, .. } | Op::Finish { upload, .. } | Op::Cancel { upload } => upload,
            other => unreachable!("{other:?}"),
        };
        if self.model.uploads.is_empty() {
            return;
        }
        let which = which % self.model.uploads.len();
        let (name, location, mut held) = self.model.uploads[which].clone();
        let instance = self.instance(second);
        match op {
            Op::Patch { blob: content, range, .. } => {
                let bytes = blob(content);
                let start = if range == Some(false) { held.len() + 1 } else { held.len() };
                let range = range.filter(|_| !bytes.is_empty());
                let header = format!("{start}-{}", (start + bytes.len()).saturating_sub(1));
                let headers: Vec<_> = range.iter().map(|_| ("content-range", header.as_str())).collect();
                let seen = instance.send("PATCH", &location, &headers, &bytes).await;
                let wrong = range == Some(false);
                assert_eq!(seen.status, if wrong { 416 } else { 202 }, "{seen:?}");
                if !wrong {
                    held.extend(bytes);
                }
                assert_eq!(seen.header("range"), format!("0-{}", held.len().saturating_sub(1)));
                self.model.uploads[which].2 = held;
            }
            Op::Finish { blob: content, right, .. } => {
                held.extend(blob(content));
                let digest = if right { digest(&held, false) } else { digest(b"no such content", false) };
                let seen = instance.send("PUT", &format!("{location}?digest={digest}"), &[], &blob(content)).await;
                assert_eq!(seen.status, if right { 201 } else { 400 }, "{seen:?}");
                self.model.uploads.remove(which);
                if right {
                    self.repository(name).blobs.insert(digest, held);
                }
            }
            _ => {
                assert_eq!(instance.status("DELETE", &location).await, 204);
                assert_eq!(instance.status("GET", &location).await, 404);
                self.model.uploads.remove(which);
            }
        }
    }

    async fn mount(&mut self, second: bool, name: &'static str, from: Option<usize>, content: usize) {
        let digest = digest(&blob(content), false);
        let query = from.map_or(String::new(), |from| format!("&from={}", REPOSITORIES[from]));
        let target = format!("/v2/{name}/blobs/uploads/?mount={digest}{query}");
        let seen = self.instance(second).send("POST", &target, &[], b"").await;
        let mounted = seen.status == 201;
        let held = |name: &str| self.model.repositories.get(name).is_some_and(|held| held.blobs.contains_key(&digest));
        match from {
            Some(from) => assert_eq!(mounted, held(REPOSITORIES[from])),
            // Bytes stay when links go, so more may be mounted than any repository holds; never less.
            None => assert!(mounted || !REPOSITORIES.iter().any(|name| held(name))),
        }
        if mounted {
            self.repository(name).blobs.insert(digest, blob(content));
        } else {
            assert_eq!(seen.status, 202);
            self.model.uploads.push((name, seen.header("location").to_owned(), Vec::new()));
        }
    }

    async fn put(&mut self, second: bool, name: &'static str, manifest: Value, needed: &[Digest], at: At) {
        let bytes = manifest.to_string();
        let (target, digest, tags) = match at {
            At::Tag(tag) => (TAGS[tag].to_owned(), digest(bytes.as_bytes(), false), vec![tag]),
            At::Digest { sha512, tags } => {
                let digest = digest(bytes.as_bytes(), sha512);
                let query: Vec<_> = tags.iter().map(|tag| format!("tag={}", TAGS[*tag])).collect();
                (format!("{digest}?{}", query.join("&")), digest, tags)
            }
        };
        let seen = self.instance(second).push_manifest(name, &target, &manifest).await;
        let repository = self.repository(name);
        let complete = needed.iter().all(|digest| repository.blobs.contains_key(digest));
        if !complete {
            return assert_eq!(seen.error(), (400, "MANIFEST_BLOB_UNKNOWN".into()));
        }
        assert_eq!((seen.status.as_u16(), seen.header("docker-content-digest")), (201, digest.text().as_str()));
        assert_eq!(seen.header("oci-subject"), manifest["subject"]["digest"].as_str().unwrap_or_default());
        repository.manifests.insert(digest, manifest);
        repository.tags.extend(tags.iter().map(|tag| (TAGS[*tag], digest)));
        repository.was_pushed = true;
    }

    /// One of the repository's manifests, or one that is nowhere.
    fn some_manifest(&mut self, name: &'static str, which: usize) -> Digest {
        self.repository(name).manifests.keys().nth(which).copied().unwrap_or_else(|| digest(b"nowhere", false))
    }

    async fn delete_tag(&mut self, second: bool, name: &'static str, tag: &'static str) {
        let there = self.repository(name).tags.remove(tag).is_some();
        let status = self.instance(second).status("DELETE", &format!("/v2/{name}/manifests/{tag}")).await;
        assert_eq!(status, if there { 202 } else { 404 });
    }

    async fn delete_manifest(&mut self, second: bool, name: &'static str, which: usize) {
        let digest = self.some_manifest(name, which);
        let repository = self.repository(name);
        let there = repository.manifests.remove(&digest).is_some();
        repository.tags.retain(|_, target| *target != digest);
        let status = self.instance(second).status("DELETE", &format!("/v2/{name}/manifests/{digest}")).await;
        assert_eq!(status, if there { 202 } else { 404 });
    }
}
