//! What is wrong on the machine itself, before anything runs.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::patient::{Patient, quoted, run};
use crate::harness::entrepot::BINARY;
use crate::harness::{Authority, Entrepot, ports};

/// With TLS by these files.
fn with_tls(patient: Patient, certificate: &Path, key: &Path) -> Patient {
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    let pair = format!("[{{ certificate = {}, key = {} }}]", quoted(certificate), quoted(key));
    patient.set("listener.0.tls", &pair)
}

#[test]
fn a_whole_installation_that_does_not_run_yet_is_all_well_and_nothing_is_made() {
    let patient = Patient::registry();
    let told = patient.doctor(&[]);
    assert_eq!((told.code, &told.json["stage"]), (Some(0), &"before".into()), "{:#}", told.json);
    assert_eq!((told.lines("error", "").len(), told.lines("warning", "").len()), (0, 0), "{:#}", told.json);
    told.names("ok", "storage", "will be made").names("ok", "ports", "is free");
    let left: Vec<_> =
        std::fs::read_dir(patient.folder.path()).expect("it").flatten().map(|one| one.file_name()).collect();
    assert_eq!(left, ["entrepot.toml"]);
}

#[test]
fn a_port_of_another_program_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let patient = Patient::registry().set("listener.0.address", &format!("\"{address}\""));
    patient.doctor(&["--before"]).only("error", "ports", &format!("{address} (listener[0]) is in use"));
    // TEST-NET-1 is nobody's address (RFC 5737).
    let nowhere = Patient::registry()
        .set("listener.0.address", &format!("\"192.0.2.1:{}\"", ports::free().port()))
        .set("registry.open_writes", "true");
    nowhere.doctor(&[]).only("error", "ports", "is no address of this machine");
}

#[test]
fn certificates_that_clients_refuse_are_named() {
    let patient = Patient::registry();
    let write = |name: &str, from: i32, until: i32| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let paths = (patient.path(&format!("{name}.pem")), patient.path(&format!("{name}.key")));
        std::fs::write(&paths.0, certificate.pem()).expect("a file");
        std::fs::write(&paths.1, key.serialize_pem()).expect("a file");
        paths
    };
    let expired = write("expired", 2020, 2021);
    let early = write("early", 2200, 2201);
    let own = write("own", 2020, 2200);
    let with = |(certificate, key): &(std::path::PathBuf, std::path::PathBuf)| {
        with_tls(Patient::registry(), certificate, key).doctor(&[])
    };
    with(&expired).only("error", "certificates", "has expired");
    with(&early).only("error", "certificates", "becomes valid only in");
    with(&own).names("warning", "certificates", "signed by itself").names("ok", "certificates", "days left");
    // Which the configuration itself refuses.
    with(&(own.0.clone(), expired.1.clone())).names("error", "config", "is not the key of the certificate");
    let ca = own.0.display().to_string();
    let told = with_tls(Patient::registry(), &own.0, &own.1).doctor(&["--ca", &ca]);
    assert_eq!(told.lines("warning", "certificates"), Vec::<String>::new());
}

#[test]
fn a_name_that_no_certificate_has_and_an_authority_that_is_not_known_are_named() {
    let (authority, other) = (Authority::new(), Authority::new());
    let issued = authority.issue("doctor", &["localhost"]);
    let patient = || with_tls(Patient::registry(), &issued.certificate, &issued.key);
    patient().doctor(&[]).names("warning", "certificates", "leads to no authority");
    let wrong = other.path().display().to_string();
    patient().doctor(&["--ca", &wrong]).only("error", "certificates", "does not lead to an authority of --ca");
    let right = authority.path().display().to_string();
    let told = patient().doctor(&["--ca", &right]);
    assert_eq!((told.lines("error", "").len(), told.lines("warning", "certificates").len()), (0, 0), "{:#}", told.json);
    patient().set("route.0.hosts", "[\"ip6-localhost\"]").doctor(&["--ca", &right]).names(
        "error",
        "certificates",
        "no certificate is for ip6-localhost",
    );
}

#[test]
fn names_that_lead_nowhere_and_those_that_lead_here_are_told_apart() {
    let told = Patient::registry().set("route.0.hosts", "[\"registry.invalid\", \"localhost\"]").doctor(&[]);
    told.only("error", "names", "registry.invalid (route[0].hosts) does not resolve");
    told.names("ok", "names", "localhost (route[0].hosts) leads here");
}

#[test]
fn placeholders_are_named_by_their_line_and_their_secret_is_not_shown() {
    let patient = Patient::registry().in_a_fleet();
    let secret = patient.file("password", "CHANGE_ME_with-a-long-rest\n", 0o600);
    crate::harness::secrets::note("CHANGE_ME_with-a-long-rest");
    let patient = patient
        .set("route.0.hosts", "[\"registry.example.com\"]")
        .set("redis.url", "\"redis://127.0.0.1:1\"")
        .set("redis.password_file", &quoted(&secret))
        .set("auth.realm", "\"https://${HOST}/token\"");
    let told = patient.doctor(&[]);
    told.names("error", "placeholders", "route[0].hosts[0]: still holds the placeholder 'example.com'");
    told.names("error", "placeholders", "still holds the placeholder 'change_me'");
    told.names("error", "placeholders", "'${…}'");
    // Also where nothing else can be read.
    let told = patient.set("listener.0.nothing", "1").doctor(&[]);
    told.names("error", "placeholders", "example.com").names("error", "config", "is not a key");
}

#[test]
fn secrets_that_everybody_may_read_are_named() {
    let authority = Authority::new();
    let issued = authority.issue("doctor", &["localhost"]);
    let patient = with_tls(Patient::registry(), &issued.certificate, &issued.key);
    std::fs::set_permissions(&issued.key, std::fs::Permissions::from_mode(0o644)).expect("its mode");
    patient.doctor(&[]).only("error", "secrets", "may be read by everybody");
    std::fs::set_permissions(&issued.key, std::fs::Permissions::from_mode(0o666)).expect("its mode");
    patient.doctor(&[]).only("error", "secrets", "may be written by everybody");
    let inline = Patient::registry().set("auth.username", "\"ann\"").set("auth.password", "\"an-inline-password\"");
    let config = inline.config();
    assert_eq!(super::patient::doctor(&config, &[]).lines("error", "secrets"), Vec::<String>::new());
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).expect("its mode");
    super::patient::doctor(&config, &[]).only("error", "secrets", "holds a secret (auth.password)");
}

#[test]
fn a_disk_a_log_and_a_folder_that_cannot_work_are_named() {
    let large = Patient::registry().set("cache.disk", "\"900000TiB\"");
    large.doctor(&[]).only("error", "disk", "more than there is");
    let log = Patient::registry();
    let absent = quoted(&log.path("absent/access.log"));
    log.set("log.access", &absent).doctor(&[]).only("error", "logs", "there is no folder");
    let file = Patient::registry();
    file.file("data", "", 0o600);
    let told = file.doctor(&[]);
    told.names("error", "storage", "file").names("error", "disk", "is a file");
    // Root may write anywhere, but no folder where a file is.
    let spoilt = Patient::registry();
    std::fs::create_dir(spoilt.path("data")).expect("a folder");
    spoilt.file("data/entrepot", "", 0o600);
    spoilt.doctor(&[]).only("error", "storage", "does not let us write");
}

#[test]
fn a_low_limit_of_files_is_named() {
    let patient = Patient::registry().set("listener.0.max_connections", "10000");
    let mut command = Command::new("prlimit");
    command.args(["--nofile=256:256", BINARY, "doctor"]).arg(patient.config()).arg("--json");
    run(command).only("warning", "limits", "may open 256 files");
}

#[test]
fn who_uses_it_wrongly_is_told_so() {
    let config = Patient::registry().config().display().to_string();
    for wrong in [&["doctor", &config, "--before", "--after"][..], &["doctor", &config, "--user", "ann"]] {
        assert_eq!(Entrepot::cli(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let absent = ["doctor", &config, "--user", "ann", "--password-file", "/nowhere"];
    assert_eq!(Entrepot::cli(&absent).status.code(), Some(2));
}

#[test]
fn people_get_lines_and_what_clients_need() {
    let patient = Patient::registry().set("route.0.hosts", "[\"localhost\"]");
    let config = patient.config().display().to_string();
    let output = Entrepot::cli(&["doctor", &config, "--address", "registry.lab.invalid:5000", "--clients"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.lines().any(|line| line.starts_with("error    names ")), "{text}");
    assert!(text.contains("warning  clients       registry.lab.invalid:5000 is plain HTTP"), "{text}");
    assert!(text.contains("\"insecure-registries\": [\"registry.lab.invalid:5000\"]"), "{text}");
    assert!(text.contains("/etc/containerd/certs.d/registry.lab.invalid:5000/hosts.toml"), "{text}");
    assert!(text.trim_end().ends_with("1 error (before it runs)"), "{text}");
}
