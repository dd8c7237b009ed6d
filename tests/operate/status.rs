//! `entrepot status` and `entrepot health`.

use super::world::{Kept, command, entrepot, on, quoted};
use crate::harness::{Redis, Registry, Setup, eventually, scratch};

#[test]
fn an_instance_its_others_storage_and_peers_are_told() {
    let kept = Kept::new();
    kept.repository("team/app").start_upload();
    let mut other = Setup::registry().storage_at(&kept.data()).start();
    eventually("both are known", || {
        on(&kept.server, &["status", "--json"]).json()["instances"].as_array().map(Vec::len) == Some(2)
    });
    let told = on(&kept.server, &["status", "--json"]).json();
    assert_eq!(told["ready"], true);
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told["uploads"], 1);
    assert_eq!(told["instance"]["addresses"][0], kept.server.address.to_string());
    assert!(told["storage"]["total"].as_u64() > Some(0) && told["storage"]["trouble"].is_null(), "{told}");
    assert!(told["server"].is_null() && told["maintenance"].is_null() && told["redis"].is_null(), "{told}");
    let said = on(&kept.server, &["status"]).well();
    for line in [
        format!(
            "entrepot     {} on {}: ready; nobody is asked to log in\n",
            env!("CARGO_PKG_VERSION"),
            kept.server.address
        ),
        format!("on {} at ", other.address),
        format!("storage      storage.root {}: well, ", kept.data().display()),
        "uploads      1 under way\n".to_owned(),
    ] {
        assert!(said.contains(&line), "{line}\n{said}");
    }
    other.terminate();
    eventually("it has said that it goes", || {
        on(&kept.server, &["status", "--json"]).json()["instances"].as_array().map(Vec::len) == Some(1)
    });
}

#[test]
fn peers_and_redis_are_told() {
    let registry = Registry::debian().start();
    let redis = Redis::new().start();
    let folder = scratch();
    let server = Setup::before(&[registry.address])
        .set("storage.driver", "\"filesystem\"")
        .set("storage.root", &quoted(&folder.path().join("data")))
        .set("redis.url", &format!("{:?}", redis.url()))
        .set("route.0.write", "\"registry\"")
        .start();
    let said = on(&server, &["status"]).well();
    assert!(said.contains(&format!("peer         main: {} well, 0 requests under way\n", registry.address)), "{said}");
    assert!(said.contains("redis        answers\n"), "{said}");
}

#[test]
fn without_its_server_a_status_says_so_and_what_storage_tells() {
    let mut kept = Kept::new();
    kept.server.terminate();
    let told = on(&kept.server, &["status"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.err.contains("no answer from the admin endpoint") && told.err.contains("is it running"), "{told:?}");
    assert!(told.out.starts_with("storage      storage.root ") && !told.out.contains("entrepot  "), "{told:?}");
    let json = on(&kept.server, &["status", "--json"]);
    assert_eq!(json.code, Some(1));
    assert!(json.json()["server"]["trouble"].as_str().is_some_and(|trouble| trouble.contains("Connection refused")));
    on(&kept.server, &["status", "--no-server"]).well();
}

#[test]
fn health_is_an_exit_status() {
    let mut kept = Kept::new();
    assert_eq!(on(&kept.server, &["health"]).well(), "ready\n");
    assert_eq!(on(&kept.server, &["health", "--json"]).json()["ready"], true);
    // Storage that is gone.
    std::fs::rename(kept.data(), kept.folder.path().join("elsewhere")).expect("moved");
    std::fs::write(kept.data(), "no folder").expect("written");
    kept.server.kill();
    let said = on(&kept.server, &["health"]).badly();
    assert!(said.contains("no answer from the admin endpoint"), "{said}");
    let told = on(&kept.server, &["health", "--json"]);
    assert_eq!((told.code, told.json()["ready"].as_bool()), (Some(1), Some(false)));
    let said = entrepot(&["health", "--admin", "127.0.0.1:1"]).badly();
    assert!(said.contains("no answer from the admin endpoint 127.0.0.1:1: Connection refused"), "{said}");
}

/// Whatever a command does, what it works on is found as `serve` finds it, or it says what is missing.
#[test]
fn a_command_without_anything_to_work_on_says_what_is_missing() {
    let folder = scratch();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("written");
        file.display().to_string()
    };
    let listener = "[[listener]]\naddress = \"127.0.0.1:1\"\n";
    let no_admin =
        write("no-admin.toml", &format!("{listener}[[route]]\nread = \"registry\"\n[storage]\ndriver = \"memory\"\n"));
    let front = write(
        "front.toml",
        &format!("{listener}[cluster.a]\npeers = [\"127.0.0.1:2\"]\n[[route]]\nread = \"cluster.a\"\n"),
    );
    let broken = write("broken.toml", "listener = 1\n");
    for arguments in [
        &["status"][..],
        &["uploads"],
        &["maintenance", "status"],
        &["tag", "a:1", "a:2"],
        &["cp", "a:1", "b:1"],
        &["repo", "rm", "a", "--yes"],
        &["gc", "status"],
        &["retention", "plan"],
    ] {
        for (config, told) in [
            (&no_admin, "the memory of the process that serves"),
            (&front, "no route of this configuration leads to the registry"),
            (&broken, "broken.toml:1: listener: "),
            (&"absent.toml".to_owned(), "absent.toml: cannot read it"),
        ] {
            let said = entrepot(&[arguments, &["--config", config]].concat()).badly();
            assert!(said.contains(told), "{arguments:?} {config}: {said}");
        }
        let said = entrepot(&[arguments, &["--admin", "127.0.0.1:1"]].concat()).badly();
        assert!(said.contains("no answer from the admin endpoint 127.0.0.1:1"), "{arguments:?}: {said}");
        let both = entrepot(&[arguments, &["--admin", "127.0.0.1:1", "--no-server"]].concat());
        assert_eq!(both.code, Some(2), "{arguments:?}: {both:?}");
    }
    let said =
        super::world::Told::of(&command(&["health", "--config", &no_admin]).output().expect("entrepot runs")).badly();
    assert!(said.contains("the configuration has no [admin] address"), "{said}");
}
