//! helm keeps charts in a registry with the two rules that most need.

use crate::harness::tools::{Containers, fails, run};
use crate::harness::{Repository, Setup, scratch};

const PASSWORD: &str = "5ecret-p4ssword";
const TWO_RULES: &str =
    r#"[{ who = ["anonymous"], allow = ["pull"] }, { who = ["authenticated"], allow = ["push", "overwrite"] }]"#;

#[test]
fn helm_logs_in_to_push_and_pulls_without() {
    let entrepot = Setup::registry()
        .set("auth.username", "\"ann\"")
        .set("auth.password", &format!("{PASSWORD:?}"))
        .set("auth.rule", TWO_RULES)
        .start();
    let (containers, files, host) = (Containers::new(), scratch(), entrepot.address.to_string());
    let helm = |arguments: &[&str]| {
        let mut helm = containers.built("helm");
        helm.args(arguments).current_dir(files.path());
        helm
    };
    run(&mut helm(&["create", "chart"]));
    run(&mut helm(&["package", "chart"]));
    std::fs::create_dir(files.path().join("back")).expect("a folder");
    let push = ["push", "chart-0.1.0.tgz", &format!("oci://{host}/charts"), "--plain-http"];
    fails(&mut helm(&push));
    fails(&mut helm(&["registry", "login", &host, "--plain-http", "-u", "ann", "-p", "wrong"]));
    run(&mut helm(&["registry", "login", &host, "--plain-http", "-u", "ann", "-p", PASSWORD]));
    run(&mut helm(&push));
    run(&mut helm(&["registry", "logout", &host]));
    fails(&mut helm(&["push", "chart-0.1.0.tgz", &format!("oci://{host}/others"), "--plain-http"]));
    let chart = format!("oci://{host}/charts/chart");
    run(&mut helm(&["pull", &chart, "--version", "0.1.0", "--plain-http", "--destination", "back"]));
    assert!(files.path().join("back/chart-0.1.0.tgz").exists());
    let shown = run(&mut helm(&["show", "chart", &chart, "--version", "0.1.0", "--plain-http"]));
    assert!(shown.contains("name: chart"), "{shown}");
    assert_eq!(Repository::at(entrepot.address, "charts/chart").head_manifest("0.1.0").status, 200);
    assert_eq!(Repository::at(entrepot.address, "others/chart").head_manifest("0.1.0").status, 404);
}
