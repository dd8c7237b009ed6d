//! One repository has one name, however it is asked for.

use super::world::{Hub, mirroring, pulls, refused};
use crate::harness::repository::ACCEPT;
use crate::harness::{FakeRemote, Manner, Repository, Request, eventually};

const SIZE: usize = 20_000;

#[test]
fn one_image_is_had_by_ns_by_path_and_by_a_whole_host_and_fetched_once() {
    let hub = Hub::start(Manner::hub(), |setup| {
        let routes = r#"[{ hosts = ["hub.test"], read = "remote.hub" }, { repositories = "docker.io/**", read = "remote.hub" },
            { read = "registry", write = "registry" }]"#;
        setup.set("route", routes)
    });
    let image = hub.remote.put_multi("library/alpine", "3", 1, SIZE);
    let layer = &image.platforms[0].layers[0];
    pulls(&hub.client("library/alpine"), "3", &image);
    pulls(&hub.client("alpine"), "3", &image);
    let blobs = image.blobs().len();
    assert_eq!((hub.remote.gets("/blobs/"), hub.remote.gets("/manifests/")), (blobs, 3));
    for (host, target) in [
        (None, "/v2/library/alpine/{}?ns=docker.io"),
        (None, "/v2/library/alpine/{}?ns=index.docker.io"),
        (None, "/v2/library/alpine/{}?ns=registry-1.docker.io"),
        (None, "/v2/alpine/{}?ns=docker.io"),
        (None, "/v2/docker.io/library/alpine/{}?ns=docker.io"),
        (None, "/v2/docker.io/alpine/{}"),
        (Some("hub.test"), "/v2/library/alpine/{}"),
        (Some("hub.test"), "/v2/alpine/{}"),
        (Some("hub.test"), "/v2/library/alpine/{}?ns=docker.io"),
    ] {
        let ask = |what: &str| {
            let request = Request::get(target.replace("{}", what)).header("Accept", ACCEPT);
            let request = host.iter().fold(request, |request, host| request.header("Host", *host));
            request.send(hub.entrepot.address)
        };
        let manifest = ask("manifests/3");
        let asked = target.contains("?ns=").then(|| target.rsplit_once('=').map_or("", |(_, ns)| ns));
        assert_eq!(manifest.header("oci-namespace").is_some(), asked.is_some(), "{target}: {:?}", manifest.headers);
        assert_eq!(manifest.expect(200), image.index, "{host:?} {target}");
        assert_eq!(ask(&format!("manifests/{}", image.digest)).expect(200), image.index, "{host:?} {target}");
        assert_eq!(ask(&format!("blobs/{layer}")).expect(200).len(), SIZE, "{host:?} {target}");
        assert_eq!(ask("tags/list").json()["tags"][0], "3", "{host:?} {target}");
    }
    assert_eq!((hub.remote.gets("/blobs/"), hub.remote.gets("/manifests/")), (blobs, 3), "nothing came twice");
    let names = || -> std::collections::BTreeSet<String> {
        let log = hub.entrepot.access_log();
        log.into_iter().filter_map(|line| line["repository"].as_str().map(str::to_owned)).collect()
    };
    eventually("the log is written", || hub.entrepot.access_log().len() > 40);
    assert_eq!(names().into_iter().collect::<Vec<_>>(), ["docker.io/library/alpine"], "one name in the log");
}

#[test]
fn three_remotes_at_once_keep_apart_what_has_the_same_name() {
    let remotes =
        ["docker.io", "quay.io", "registry.example:5000"].map(|name| (name, FakeRemote::start(Manner::plain())));
    let images: Vec<_> =
        remotes.iter().zip(1..).map(|((_, remote), seed)| remote.put_multi("team/app", "1", seed, SIZE)).collect();
    let listed: Vec<_> = ["hub", "quay", "own"]
        .into_iter()
        .zip(&remotes)
        .map(|(key, (name, remote))| (key, *name, remote.address()))
        .collect();
    let entrepot = mirroring(&listed).start();
    for ((name, remote), image) in remotes.iter().zip(&images) {
        let path = name.split(':').next().unwrap_or_default();
        let client = Repository::at(entrepot.address, &format!("{path}/team/app"));
        pulls(&client, "1", image);
        let by_ns = Request::get(format!("/v2/team/app/manifests/1?ns={name}")).header("Accept", ACCEPT);
        assert_eq!(by_ns.send(entrepot.address).expect(200), image.index, "{name}");
        assert_eq!(remote.gets("/blobs/"), image.blobs().len());
        // What another remote has of the same name is not this one's.
        for other in images.iter().filter(|other| other.digest != image.digest) {
            refused(&client.get_manifest(&other.digest), 404, "MANIFEST_UNKNOWN");
            refused(&client.get_blob(&other.platforms[0].layers[0]), 404, "BLOB_UNKNOWN");
        }
    }
}

#[test]
fn a_name_that_contradicts_itself_and_one_that_nobody_declared_are_unknown_at_once() {
    let (hub, quay) = (FakeRemote::start(Manner::plain()), FakeRemote::start(Manner::plain()));
    hub.put("library/alpine", "3", 1, SIZE);
    let entrepot = mirroring(&[("hub", "docker.io", hub.address()), ("quay", "quay.io", quay.address())]).start();
    Repository::at(entrepot.address, "team/own").push_random("3", 7, SIZE);
    for target in [
        "/v2/quay.io/library/alpine/manifests/3?ns=docker.io",
        "/v2/docker.io/library/alpine/manifests/3?ns=quay.io",
        "/v2/library/alpine/manifests/3?ns=nowhere.example",
        "/v2/team/own/manifests/3?ns=nowhere.example",
        "/v2/docker.io/library/alpine/manifests/3?ns=nowhere.example",
        "/v2/library/alpine/manifests/3?ns=docker.io:443x",
        "/v2/library/alpine/manifests/3?ns=",
    ] {
        refused(&Request::get(target).header("Accept", ACCEPT).send(entrepot.address), 404, "NAME_UNKNOWN");
        assert_eq!(Request::head(target).send(entrepot.address).status, 404, "{target}");
    }
    assert_eq!((hub.asked(), quay.asked()), (0, 0), "nobody was asked");
}

#[test]
fn of_paths_that_nest_the_longest_wins() {
    let (outer, inner) = (FakeRemote::start(Manner::plain()), FakeRemote::start(Manner::plain()));
    let outer_image = outer.put("team/app", "1", 1, SIZE);
    let inner_image = inner.put("team/app", "1", 2, SIZE);
    let setup = mirroring(&[("outer", "outer.example", outer.address()), ("inner", "inner.example", inner.address())])
        .set("remote.outer.path", "\"mirror\"")
        .set("remote.inner.path", "\"mirror/inner\"");
    let routes = r#"[{ repositories = "mirror/inner/**", read = "remote.inner" },
        { repositories = "mirror/**", read = "remote.outer" }, { read = "registry", write = "registry" }]"#;
    let entrepot = setup.set("route", routes).start();
    for (name, image) in [("mirror/team/app", &outer_image), ("mirror/inner/team/app", &inner_image)] {
        assert_eq!(Repository::at(entrepot.address, name).get_manifest("1").expect(200), image.manifest, "{name}");
    }
    for (ns, image) in [("outer.example", &outer_image), ("inner.example", &inner_image)] {
        let request = Request::get(format!("/v2/team/app/manifests/1?ns={ns}")).header("Accept", ACCEPT);
        assert_eq!(request.send(entrepot.address).expect(200), image.manifest, "{ns}");
    }
    assert_eq!((outer.gets("/manifests/"), inner.gets("/manifests/")), (1, 1));
}

#[test]
fn what_is_pushed_elsewhere_stands_beside_the_mirror() {
    let hub = Hub::new();
    let there = hub.remote.put("team/app", "1", 1, SIZE);
    let own = Repository::at(hub.entrepot.address, "team/app");
    let here = own.push_random("1", 2, SIZE);
    assert_eq!(hub.client("team/app").get_manifest("1").expect(200), there.manifest);
    assert_eq!(own.get_manifest("1").expect(200), here.manifest);
    refused(&own.get_blob(&there.layers[0]), 404, "BLOB_UNKNOWN");
    refused(&hub.client("team/app").get_blob(&here.layers[0]), 404, "BLOB_UNKNOWN");
    // Nothing is written through a mirror that takes nothing.
    let answer = hub.client("team/app").request("POST", "/v2/docker.io/team/app/blobs/uploads/").send(own.address);
    assert!((400..500).contains(&answer.status), "{}", answer.status);
}
