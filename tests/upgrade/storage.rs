//! A successor whose configuration names another storage than the one in use: each pull would be 404 afterwards.

use std::path::Path;

use rustix::process::Signal;

use super::world::Serving;
use crate::harness::minio::Minio;
use crate::harness::{Setup, eventually};

/// The configuration as a text, and one that is the same but for this.
fn changed(serving: &Serving, from: &str, to: &str) -> (String, String) {
    let good = std::fs::read_to_string(serving.entrepot.config_path()).expect("the configuration");
    assert_eq!(good.matches(from).count(), 1, "{from}");
    let other = good.replace(from, to);
    (good, other)
}

fn configure(serving: &Serving, text: &str) {
    std::fs::write(serving.entrepot.config_path(), text).expect("a file");
}

/// As in TOML.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

#[test]
fn whoever_has_another_folder_takes_no_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, other, link) = (folder.path().join("data"), folder.path().join("empty"), folder.path().join("link"));
    let mut serving = Serving::start(Setup::registry().storage_at(&data));
    let image = serving.client("team/app").push_random("v1", 1, 100_000);
    let first = serving.process_id();
    let (_, wrong) = changed(&serving, &quoted(&data), &quoted(&other));
    let (_, same) = changed(&serving, &quoted(&data), &quoted(&link));
    configure(&serving, &wrong);
    let said = serving.upgrade(None).expect_err("no successor");
    let told = format!(
        "the successor has another storage: storage.root {}, where this process has storage.root {}",
        other.display(),
        data.display()
    );
    assert!(said.contains(&told) && said.contains("correct [storage], or restart to change it"), "{said}");
    // By the signal too, which nobody can be asked at whether it is meant.
    serving.entrepot.process().signal(Signal::USR2);
    eventually("both were given up", || {
        serving.entrepot.metric("entrepot_upgrades_total", &[("result", "refused")]) == 2.0
    });
    assert_eq!(serving.process_id(), first);
    serving.client("team/app").get_blob(&image.layers[0]).expect(200);
    // By another path to the same folder: nothing is missing there.
    std::os::unix::fs::symlink(&data, &link).expect("a link");
    configure(&serving, &same);
    let second = serving.upgrade(None).expect("an upgrade");
    assert_ne!(second, first);
    serving.client("team/app").get_blob(&image.layers[0]).expect(200);
}

#[test]
fn whoever_has_another_bucket_or_prefix_takes_no_place() {
    let minio = Minio::start(&["bucket", "another"]);
    let serving = Serving::start(minio.bucket("bucket").set(Setup::registry()));
    let image = serving.client("team/app").push_random("v1", 1, 100_000);
    let first = serving.process_id();
    for (to, told) in [
        ("bucket = \"another\"", "storage.bucket \"another\" at "),
        (
            "prefix = \"below\"\nbucket = \"bucket\"",
            " below below/, where this process has storage.bucket \"bucket\" at ",
        ),
    ] {
        let (good, wrong) = changed(&serving, "bucket = \"bucket\"", to);
        configure(&serving, &wrong);
        let said = serving.upgrade(None).expect_err("no successor");
        assert!(said.contains("the successor has another storage") && said.contains(told), "{said}");
        configure(&serving, &good);
    }
    assert_eq!(serving.process_id(), first);
    // How the same bucket is asked is an upgrade's to change.
    let (_, patient) = changed(&serving, "bucket = \"bucket\"", "retries = 7\nbucket = \"bucket\"");
    configure(&serving, &patient);
    serving.upgrade(None).expect("an upgrade");
    serving.client("team/app").get_blob(&image.layers[0]).expect(200);
}
