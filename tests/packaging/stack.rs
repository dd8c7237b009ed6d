//! The configurations of the whole stack, as they are shipped but for addresses and files: an entrance with TLS and two registries over
//! MinIO and Redis.

use std::path::Path;

use super::read;
use crate::harness::entrepot::BINARY;
use crate::harness::tools::{Containers, fails, output, run};
use crate::harness::{Authority, Entrepot, Minio, Redis, Setup, eventually, minio, scratch};

const USER: &str = "operator";
const PASSWORD: &str = "the-stack-lets-me-push";

/// One of the files, with this bucket and Redis.
fn member(file: &str, minio: &Minio, redis: &str, spool: &Path) -> Setup {
    let quoted = |text: String| format!("{text:?}");
    Setup::of(read(&format!("packaging/compose/stack/{file}")).parse().expect("TOML"))
        .set("storage.endpoint", &quoted(minio.bucket("registry").endpoint()))
        .set("redis.url", &quoted(redis.to_owned()))
        .set("registry.spool", &quoted(spool.display().to_string()))
        .environment("ENTREPOT_STORAGE__ACCESS_KEY_ID", minio::ACCESS_KEY)
        .environment("ENTREPOT_STORAGE__SECRET_ACCESS_KEY", minio::SECRET_KEY)
}

#[test]
fn one_registry_is_stopped_and_nobody_notices() {
    let (minio, redis, folder, authority) =
        (Minio::start(&["registry"]), Redis::new().start(), scratch(), Authority::new());
    let secret = folder.path().join("fleet.secret");
    std::fs::write(&secret, output(std::process::Command::new(BINARY).args(["fleet", "secret"])).stdout)
        .expect("written");
    let started = |file: &str, name: &str| member(file, &minio, &redis.url(), &folder.path().join(name));
    let mut registries: Vec<Entrepot> = ["one", "other"].map(|name| started("registry.toml", name).start()).into();
    let issued = authority.issue("front", &["localhost", "127.0.0.1"]);
    let peers: Vec<String> = registries.iter().map(|registry| registry.address.to_string()).collect();
    let front = started("front.toml", "front")
        .set("listener.0.tls", &format!("[{{certificate = {:?}, key = {:?}}}]", issued.certificate, issued.key))
        .set("listener.1.address", "\"127.0.0.1:0\"")
        .set("cluster.registries.peers", &format!("{peers:?}"))
        // As often as tests have it.
        .set("cluster.registries.health", "{ interval = \"200ms\", rise = 1, fall = 2 }")
        .set("cluster.registries.fail_timeout", "\"1s\"")
        .set("fleet.secret_file", &format!("{:?}", secret.display().to_string()))
        .environment("REGISTRY_USERNAME", USER)
        .environment("REGISTRY_PASSWORD", PASSWORD)
        .start();

    let (containers, image) =
        (Containers::new(), format!("docker://localhost:{}/team/entrepot:1", front.address.port()));
    let layout = folder.path().join("layout");
    super::image::build(&[], &layout);
    let (login, trust) = (format!("{USER}:{PASSWORD}"), authority.folder().display().to_string());
    let mut push = containers.skopeo();
    push.args(["copy", "--dest-cert-dir", &trust, "--dest-creds", &login]);
    run(push.arg(format!("oci:{}:{}", layout.display(), env!("CARGO_PKG_VERSION"))).arg(&image));
    assert!(minio.bucket("registry").keys().iter().any(|key| key.contains("repositories/team/entrepot/")));

    let pull = |count: usize| {
        let target = format!("dir:{}", folder.path().join(format!("pulled-{count}")).display());
        let mut copy = containers.skopeo();
        copy.args(["copy", "--src-cert-dir", &trust, "--src-creds", &login]);
        run(copy.args([&image, &target]));
    };
    pull(1);
    let asked = |registry: &Entrepot| registry.access_log().iter().any(|line| line["repository"] == "team/entrepot");
    eventually("the registries are asked", || registries.iter().any(asked));
    registries[0].kill();
    (2..6).for_each(pull);
    registries[0].restart();
    let back = [("peer", peers[0].as_str())];
    eventually("the first one is back", || front.metric("entrepot_peer_up", &back) > 0.0);
    registries[1].kill();
    (6..10).for_each(pull);
    let stranger = fails(containers.skopeo().args(["inspect", "--cert-dir", &trust, &image]));
    assert!(stranger.contains("unauthorized") || stranger.contains("authentication required"), "{stranger}");
}
