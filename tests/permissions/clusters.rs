//! Our rules before a cluster that is written to: a peer that asks nobody, which only we reach.

use std::net::SocketAddr;

use super::{PASSWORD, Ruled, SIZE, setup};
use crate::harness::repository::Repository;
use crate::harness::{FaultProxy, Registry, Request, Setup, scratch};

/// The rules before this peer, for reads and writes.
fn before(peer: SocketAddr, more: impl FnOnce(Setup) -> Setup) -> Ruled {
    let folder = scratch();
    let setup = setup(folder.path())
        .set("cluster.main.peers", &format!("[\"{peer}\"]"))
        .set("route.0.read", "\"cluster.main\"")
        .set("route.0.write", "\"cluster.main\"")
        .set("route.0.auth", "\"rules\"");
    Ruled { entrepot: more(setup).start(), folder }
}

#[test]
fn rules_judge_what_is_written_to_a_cluster() {
    let peer = Registry::debian().start();
    let ruled = before(peer.address, |setup| setup);
    let (ann, bob) = (ruled.ann("bob/a"), ruled.bob("bob/a"));
    let image = bob.push_random("v1", 1, SIZE);
    assert_eq!(
        ruled.repository("bob/a").request("POST", ruled.repository("bob/a").uploads()).send(ann.address).status,
        401
    );
    assert_eq!(ruled.bob("public/a").request("POST", ruled.bob("public/a").uploads()).send(ann.address).status, 403);
    // New tags, and the same again; not another manifest under an old one.
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let put = |client: &Repository, tag: &str, bytes: &[u8]| {
        client.request("PUT", client.manifest(tag)).header("Content-Type", kind).body(bytes).send(client.address)
    };
    let other = bob.push_random("v2", 2, SIZE);
    assert_eq!(put(&bob, "v1", &image.manifest).status, 201);
    let moved = put(&bob, "v1", &other.manifest);
    assert_eq!((moved.status, moved.error_code().as_str()), (403, "DENIED"));
    assert_eq!(bob.head_manifest("v1").header("docker-content-digest"), Some(&*image.digest));
    assert_eq!(put(&ann, "v1", &other.manifest).status, 201);
    assert_eq!(bob.head_manifest("v1").header("docker-content-digest"), Some(&*other.digest));
    // By token as by password.
    let token = ruled.token(Some(("bob", PASSWORD)), "repository:bob/a:pull,push");
    assert_eq!(put(&ruled.repository("bob/a").bearer(&token), "v2", &image.manifest).status, 403);
    // Deleting was not allowed to bob.
    assert_eq!(bob.request("DELETE", bob.manifest(&image.digest)).send(bob.address).status, 403);
    assert_eq!(ann.request("DELETE", ann.manifest(&other.digest)).send(ann.address).status, 202);
}

/// However it is said: servers read what is said twice, in a form or in other letters in their own ways.
#[test]
fn what_may_not_be_read_of_a_cluster_cannot_be_mounted() {
    let peer = Registry::debian().start();
    let ruled = before(peer.address, |setup| setup);
    let (ann, bob) = (ruled.ann("bob/a"), ruled.bob("bob/a"));
    bob.push_random("v1", 1, SIZE);
    let hidden = ruled.ann("secret/a").push_random("v1", 3, SIZE);
    let mount = |client: &Repository, from: &str| {
        let target = format!("{}?mount={}{from}", client.uploads(), hidden.layers[0]);
        client.request("POST", target).send(client.address).status
    };
    assert_eq!(mount(&bob, "&from=secret/a"), 202);
    assert_eq!(mount(&bob, "&from=secret%2Fa"), 202);
    assert_eq!(mount(&bob, ""), 202);
    assert_eq!(bob.head_blob(&hidden.layers[0]).status, 404);
    let layer = &hidden.layers[0];
    for query in [
        format!("?mount={layer}&mount={layer}&from=secret/a"),
        format!("?mount={layer}&from=secret/a&from=secret/a"),
        format!("?mount={layer}&from=bob/a&from=secret/a"),
        format!("?%6dount={layer}&fro%6d=secret/a"),
        format!("?x=1;mount={layer};from=secret/a"),
        format!("?Mount={layer}&From=secret/a"),
    ] {
        let answer = bob.request("POST", format!("{}{query}", bob.uploads())).send(bob.address);
        assert_eq!(answer.status, 202, "{query}: {}", answer.text());
    }
    for (query, form) in [
        (String::new(), format!("mount={layer}&from=secret/a")),
        (format!("?mount={layer}&from=bob/a"), "from=secret/a".into()),
        (format!("?mount={layer}"), "from=secret/a".into()),
    ] {
        for kind in ["application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded; charset=utf-8"] {
            let request = bob.request("POST", format!("{}{query}", bob.uploads())).header("Content-Type", kind);
            let status = request.body(form.clone()).send(bob.address).status;
            assert_ne!(status, 201, "{query} {form} {kind}");
        }
    }
    assert_eq!(bob.get_blob(layer).status, 404);
    assert_eq!(mount(&ann, "&from=secret/a"), 201);
}

/// Paths outside `/v2/` that a cluster forwards are under no rule; what clients log in with to us is not told there.
#[test]
fn no_login_of_ours_goes_where_paths_are_forwarded() {
    let peer = FaultProxy::recording();
    let ruled = before(peer.address, |setup| setup.set("cluster.main.forward", "[\"/api/\"]"));
    Request::get("/api/x").basic("ann", PASSWORD).send(ruled.entrepot.address);
    let heard = peer.seen_of("GET", "/api/x");
    assert!(!heard.is_empty() && heard.iter().all(|request| request.header("authorization").is_none()), "{heard:?}");
}
