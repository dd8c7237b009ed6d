//! Who shows a certificate is the user whom it names.

use std::process::Command;

use crate::harness::authority::Issued;
use crate::harness::tools::{output, run};
use crate::harness::{Authority, Entrepot, Setup, eventually, scratch};

const RULES: &str = r#"[
    { repositories = "public/**", who = ["anonymous"], allow = ["pull"] },
    { who = ["user:ci"], allow = ["pull", "push"] },
    { repositories = "ann/**", who = ["user:ann"], allow = ["pull"] },
]"#;

struct Ground {
    entrepot: Entrepot,
    servers: Authority,
    clients: Authority,
    _folder: tempfile::TempDir,
}

fn ground(more: impl FnOnce(Setup) -> Setup) -> Ground {
    let (servers, clients, folder) = (Authority::new(), Authority::new(), scratch());
    let own = servers.issue("server", &["localhost"]);
    let setup = Setup::registry()
        .storage_at(&folder.path().join("data"))
        .set("listener.0.tls", &format!("[{{ certificate = {:?}, key = {:?} }}]", own.certificate, own.key))
        .set("listener.0.client_ca", &format!("{:?}", clients.path()))
        .set("auth.username", "\"ann\"")
        .set("auth.password", "\"5ecret-p4ssword\"")
        .set("auth.rule", RULES);
    Ground { entrepot: more(setup).start(), servers, clients, _folder: folder }
}

impl Ground {
    fn curl(&self, shown: Option<&Issued>, arguments: &[&str], path: &str) -> Command {
        let mut command = Command::new("curl");
        command.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]).arg(self.servers.path());
        if let Some(issued) = shown {
            command.arg("--cert").arg(&issued.certificate).arg("--key").arg(&issued.key);
        }
        command.args(arguments).arg(format!("https://localhost:{}{path}", self.entrepot.address.port()));
        command
    }

    fn status(&self, shown: Option<&Issued>, arguments: &[&str], path: &str) -> String {
        run(&mut self.curl(shown, arguments, path))
    }
}

#[test]
fn a_certificate_is_a_login_and_a_login_counts_more() {
    let ground = ground(|setup| setup);
    let ci = ground.clients.issue("ci", &[]);
    let start = ["-X", "POST"];
    assert_eq!(ground.status(Some(&ci), &[], "/v2/"), "200");
    assert_eq!(ground.status(Some(&ci), &start, "/v2/any/a/blobs/uploads/"), "202");
    assert_eq!(ground.status(Some(&ci), &["--http2", "-X", "POST"], "/v2/any/a/blobs/uploads/"), "202");
    assert_eq!(ground.status(Some(&ci), &["--http1.1", "-X", "POST"], "/v2/any/a/blobs/uploads/"), "202");
    // Known, and may not: perhaps by a login.
    assert_eq!(ground.status(Some(&ci), &["-X", "DELETE"], "/v2/any/a/manifests/v1"), "401");
    // Without one, everything is as it was.
    assert_eq!(ground.status(None, &[], "/v2/"), "401");
    assert_eq!(ground.status(None, &[], "/v2/public/a/tags/list"), "404");
    // A login of the request's own.
    let ann = ["-u", "ann:5ecret-p4ssword"];
    assert_eq!(ground.status(Some(&ci), &ann, "/v2/ann/a/tags/list"), "404");
    assert_eq!(ground.status(Some(&ci), &[&ann[..], &start].concat(), "/v2/any/a/blobs/uploads/"), "403");
    assert_eq!(ground.status(Some(&ci), &["-u", "ann:wrong"], "/v2/ann/a/tags/list"), "401");
    // Somebody whom no rule knows may what anybody may.
    let other = ground.clients.issue("other", &[]);
    assert_eq!(ground.status(Some(&other), &[], "/v2/public/a/tags/list"), "404");
    assert_eq!(ground.status(Some(&other), &start, "/v2/any/a/blobs/uploads/"), "401");
    // Where clients find out whether they have to log in.
    assert_eq!(ground.status(Some(&other), &[], "/v2/"), "401");
    assert_eq!(ground.status(Some(&other), &ann, "/v2/"), "200");
    let named = ground.entrepot.access_log().iter().any(|line| line["identity"] == "ci");
    assert!(named);
}

#[test]
fn a_certificate_of_a_stranger_gets_no_connection() {
    let ground = ground(|setup| setup);
    let stranger = Authority::new();
    let forged = stranger.issue("ci", &[]);
    let answer = output(&mut ground.curl(Some(&forged), &["-X", "POST"], "/v2/any/a/blobs/uploads/"));
    assert!(!answer.status.success() && !String::from_utf8_lossy(&answer.stdout).contains("202"), "{answer:?}");
    // One that the listener's own authority issued is a stranger's too.
    let server = ground.servers.issue("ci", &["localhost"]);
    assert!(!output(&mut ground.curl(Some(&server), &[], "/v2/")).status.success());
}

#[test]
fn where_one_is_required_nobody_comes_without_and_a_reload_changes_who_is_believed() {
    let mut ground = ground(|setup| setup.set("listener.0.client_certificate_required", "true"));
    let ci = ground.clients.issue("ci", &[]);
    assert_eq!(ground.status(Some(&ci), &[], "/v2/"), "200");
    assert!(!output(&mut ground.curl(None, &[], "/healthz")).status.success());
    let others = Authority::new();
    let path = format!("{:?}", others.path());
    ground.entrepot.reload(|setup| setup.set("listener.0.client_ca", &path), "ok");
    assert!(!output(&mut ground.curl(Some(&ci), &[], "/v2/")).status.success());
    let new = others.issue("ci", &[]);
    assert_eq!(ground.status(Some(&new), &[], "/v2/"), "200");
}

#[test]
fn a_proxys_certificate_says_nothing_of_its_clients() {
    let ground = ground(|setup| setup.set("listener.0.trusted_proxies", "[\"127.0.0.0/8\", \"::1/128\"]"));
    let ci = ground.clients.issue("ci", &[]);
    assert_eq!(ground.status(Some(&ci), &["-X", "POST"], "/v2/any/a/blobs/uploads/"), "401");
}

#[test]
fn a_certificate_that_is_revoked_gives_no_connection() {
    let ground = ground(|setup| setup);
    let (ci, other) = (ground.clients.issue("ci", &[]), ground.clients.issue("other", &[]));
    let connects = |ground: &Ground, shown| output(&mut ground.curl(shown, &[], "/healthz")).status.success();
    assert!(connects(&ground, Some(&ci)));
    let mut ground = ground;
    let reload = |ground: &mut Ground, revoked: &[&Issued], year| {
        let list = ground.clients.revoke(revoked, year);
        ground.entrepot.reload(|setup| setup.set("listener.0.client_crl", &format!("{list:?}")), "ok");
    };
    reload(&mut ground, &[&ci], 2099);
    assert!(!connects(&ground, Some(&ci)));
    assert!(connects(&ground, Some(&other)) && connects(&ground, None));
    // The same file with other bytes, and one that nobody has renewed.
    reload(&mut ground, &[&other], 2099);
    assert!(connects(&ground, Some(&ci)) && !connects(&ground, Some(&other)));
    reload(&mut ground, &[], 2025);
    assert!(!connects(&ground, Some(&ci)) && connects(&ground, None));
    // Another list is taken over without anybody's word.
    ground.clients.revoke(&[&other], 2099);
    eventually("the list is read again", || connects(&ground, Some(&ci)));
    assert!(!connects(&ground, Some(&other)));
}
