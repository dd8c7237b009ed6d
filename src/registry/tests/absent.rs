//! What a push names and the repository lacks may be brought by somebody else, for whoever may pull it.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, Method};
use parking_lot::Mutex;

use super::harness::{Harness, Whole, image, index, sha256};
use crate::auth::{Identity, Permit, Policy};
use crate::oci::{Action, Digest, RepositoryName, media_type};
use crate::registry::{Absent, Registry, Reply, Request};
use crate::telemetry::RequestId;

/// Has some blobs, and says that it has whatever else it is asked for if it `lies`.
struct Other {
    registry: Arc<Registry>,
    blobs: Vec<Vec<u8>>,
    lies: bool,
    asked: Mutex<Vec<(String, Digest)>>,
}

#[async_trait]
impl Absent for Other {
    async fn bring(&self, name: &RepositoryName, digest: &Digest) -> bool {
        self.asked.lock().push((name.to_string(), *digest));
        let Some(bytes) = self.blobs.iter().find(|bytes| sha256(bytes) == *digest) else { return self.lies };
        self.registry.keep_blob(name, digest, &mut Whole::new(bytes, true)).await.is_ok()
    }

    async fn bring_manifest(&self, name: &RepositoryName, digest: &Digest) -> bool {
        self.asked.lock().push((name.to_string(), *digest));
        false
    }
}

impl Other {
    fn of(harness: &Harness, blobs: &[&[u8]], lies: bool) -> Arc<Self> {
        let blobs = blobs.iter().map(|bytes| bytes.to_vec()).collect();
        Arc::new(Other { registry: harness.registry.clone(), blobs, lies, asked: Mutex::default() })
    }

    fn asked(&self) -> Vec<(String, Digest)> {
        let mut asked = std::mem::take(&mut *self.asked.lock());
        asked.sort();
        asked
    }
}

async fn send(harness: &Harness, other: &Arc<Other>, permit: Permit, what: (&str, &str, &str)) -> Reply {
    let (method, target, body) = what;
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let action = Action::parse(&method.parse::<Method>().unwrap(), path, query).unwrap();
    let (id, absent) = (RequestId::new(), Some(other.clone() as Arc<dyn Absent>));
    let request = Request { id, permit, action, headers: HeaderMap::new(), listener: None, absent };
    harness.registry.answer(request, &mut Whole::new(body.as_bytes(), false)).await
}

async fn put(harness: &Harness, other: &Arc<Other>, permit: Permit, manifest: &serde_json::Value) -> u16 {
    let text = manifest.to_string();
    send(harness, other, permit, ("PUT", "/v2/a/manifests/1", &text)).await.status.as_u16()
}

#[tokio::test]
async fn what_a_manifest_names_is_brought_only_where_it_is_missing() {
    let harness = Harness::new().await;
    let other = Other::of(&harness, &[b"layer"], false);
    let (config, layer) = (harness.push_blob("a", b"{}").await, sha256(b"layer"));
    assert_eq!(put(&harness, &other, Permit::open(), &image(&config, &layer)).await, 201);
    assert_eq!(other.asked(), [("a".to_owned(), layer)]);
    assert_eq!(harness.status("GET", &format!("/v2/a/blobs/{layer}")).await, 200);
    assert_eq!(put(&harness, &other, Permit::open(), &image(&config, &layer)).await, 201);
    assert_eq!(other.asked(), []);
    assert_eq!(put(&harness, &other, Permit::open(), &image(&config, &sha256(b"nobody's"))).await, 400);
}

#[tokio::test]
async fn that_something_was_brought_is_not_believed_but_looked_for() {
    let harness = Harness::new().await;
    let other = Other::of(&harness, &[], true);
    let config = harness.push_blob("a", b"{}").await;
    assert_eq!(put(&harness, &other, Permit::open(), &image(&config, &sha256(b"nowhere"))).await, 400);
    assert_eq!(other.asked().len(), 1);
}

#[tokio::test]
async fn nothing_is_brought_for_who_may_not_pull_it() {
    let harness = Harness::new().await;
    let other = Other::of(&harness, &[b"layer"], false);
    let (config, layer) = (harness.push_blob("a", b"{}").await, sha256(b"layer"));
    // `push` lets pull too, so this is who may do something else only.
    let rules = "[[rule]]\nrepositories = \"**\"\nwho = [\"anonymous\"]\nallow = [\"overwrite\"]\n";
    let policy = Arc::new(Policy::new(&toml::from_str(rules).unwrap()).unwrap());
    let permit = || Permit::new(policy.clone(), (Identity::Anonymous, None, false), "h", [127, 0, 0, 1].into());
    assert_eq!(put(&harness, &other, permit(), &image(&config, &layer)).await, 400);
    let mount = format!("/v2/b/blobs/uploads/?mount={layer}&from=a");
    assert_eq!(send(&harness, &other, permit(), ("POST", &mount, "")).await.status, 202);
    assert_eq!(other.asked(), []);
}

#[tokio::test]
async fn a_blob_is_mounted_from_where_somebody_else_has_it() {
    let harness = Harness::new().await;
    let other = Other::of(&harness, &[b"layer"], false);
    let layer = sha256(b"layer");
    let mount = format!("/v2/b/blobs/uploads/?mount={layer}&from=a");
    assert_eq!(send(&harness, &other, Permit::open(), ("POST", &mount, "")).await.status, 201);
    assert_eq!(other.asked(), [("a".to_owned(), layer)]);
    assert_eq!(harness.status("GET", &format!("/v2/b/blobs/{layer}")).await, 200);
    let nowhere = format!("/v2/b/blobs/uploads/?mount={}&from=a", sha256(b"nowhere"));
    assert_eq!(send(&harness, &other, Permit::open(), ("POST", &nowhere, "")).await.status, 202);
}

#[tokio::test]
async fn an_index_is_taken_though_nobody_has_what_it_names() {
    let harness = Harness::new().await;
    let other = Other::of(&harness, &[], false);
    let child = sha256(b"child");
    let entry = serde_json::json!({"mediaType": media_type::OCI_MANIFEST, "digest": child.text(), "size": 5});
    assert_eq!(put(&harness, &other, Permit::open(), &index(&[entry])).await, 201);
    assert_eq!(other.asked(), [("a".to_owned(), child)]);
}
