//! `entrepot check` on files: every bad one under `tests/config/` says in its first lines what must be
//! told of it, as `# expect: LINE: key.path: fragment`; and nothing else may be told.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A folder with two certificates and their keys, which the files name by relative paths.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["a", "b"] {
        let made = rcgen::generate_simple_self_signed(vec!["registry.example.com".to_owned()]).expect("a certificate");
        std::fs::write(folder.path().join(format!("{name}.pem")), made.cert.pem()).expect("written");
        std::fs::write(folder.path().join(format!("{name}.key")), made.signing_key.serialize_pem()).expect("written");
    }
    std::fs::write(folder.path().join("text.pem"), "no certificate\n").expect("written");
    std::fs::write(folder.path().join("short.secret"), "c2hvcnQ=\n").expect("written");
    folder
}

/// The real binary, in `folder`, with no variables but `variables`.
fn entrepot(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_entrepot"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check(folder: &Path, file: &Path) -> Output {
    entrepot(folder, &["check", file.to_str().expect("a path in UTF-8")], &[])
}

/// Writes `config` into a folder of its own.
fn written(config: &str) -> (TempDir, PathBuf) {
    let folder = certificates();
    let file = folder.path().join("entrepot.toml");
    std::fs::write(&file, config).expect("written");
    (folder, file)
}

const GOOD: &str = "[[listener]]\naddress = \"127.0.0.1:5000\"\ntls = [{ certificate = \"a.pem\", key = \"a.key\", names = [\"*.example.com\"] }]\n\
    [admin]\naddress = \"127.0.0.1:1\"\n\
    [cluster.main]\npeers = [\"[::1]:5011\", \"registry-1:5000\"]\ntls = { ca = \"b.pem\", client_certificate = \"a.pem\", client_key = \"a.key\" }\n\
    [[route]]\nhosts = [\"a.example\"]\nread = \"cluster.main\"\n[[route]]\nread = \"cluster.main\"\n";

#[test]
fn every_bad_file_is_refused_at_its_line_for_its_reason() {
    let folder = certificates();
    let bad = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut files: Vec<_> =
        std::fs::read_dir(&bad).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() >= 25, "{} files", files.len());
    let failures: Vec<_> = files.iter().filter_map(|file| judge(folder.path(), file).err()).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Compares what is told of `file` with what its first lines expect.
fn judge(folder: &Path, file: &Path) -> Result<(), String> {
    let content = std::fs::read_to_string(file).expect("the file reads");
    let expected: Vec<_> = content.lines().map_while(|line| line.strip_prefix("# expect: ")).collect();
    let output = check(folder, file);
    let told = text(&output.stderr);
    let fault = |what: &str| Err(format!("{}: {what}\n{told}", file.display()));
    if expected.is_empty() {
        return fault("has no '# expect:' line");
    }
    if output.status.code() != Some(1) || !output.stdout.is_empty() {
        return fault("was not refused with exit code 1 on stderr alone");
    }
    let lines: Vec<_> = told.lines().collect();
    if lines.len() != expected.len() {
        return fault(&format!("{} problems were expected", expected.len()));
    }
    for expectation in expected {
        // LINE: key.path: fragment; a syntax error has no key.
        let (line, rest) = expectation.split_once(": ").expect("a line");
        let place = format!("{}:{line}: ", file.display());
        let matches = |told: &&str| {
            told.strip_prefix(&place).is_some_and(|told| match rest.split_once(": ") {
                Some((path, fragment)) => {
                    told.split_once(": ").is_some_and(|(p, what)| p == path && what.contains(fragment))
                }
                None => told.contains(rest),
            })
        };
        if !lines.iter().any(matches) {
            return fault(&format!("was not told: {expectation}"));
        }
    }
    Ok(())
}

#[test]
fn a_good_file_is_said_to_be_good() {
    let (folder, file) = written(GOOD);
    let output = check(folder.path(), &file);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert_eq!(told.lines().next(), Some(format!("{}: ok", file.display()).as_str()));
    assert!(
        told.contains("listener 127.0.0.1:5000 https") && told.contains("main: [::1]:5011, registry-1:5000"),
        "{told}"
    );
    assert!(output.stderr.is_empty());
}

#[test]
fn the_shipped_files_are_good() {
    for name in ["entrepot.toml", "front.toml", "registry.toml", "cluster.toml", "mirror.toml"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name);
        let output = check(Path::new("."), &file);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
}

#[test]
fn the_environment_counts_in_a_check() {
    let (folder, file) = written(GOOD);
    let file = file.to_str().expect("a path in UTF-8");
    let output = entrepot(folder.path(), &["check", file], &[("ENTREPOT_CACHE__DISK", "3GiB")]);
    assert!(text(&output.stdout).contains("3GiB of disk"), "{}", text(&output.stdout));
    let output = entrepot(folder.path(), &["check", file], &[("ENTREPOT_CACHE__DISC", "3GiB")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("ENTREPOT_CACHE__DISC: cache.disc: is not a key; did you mean 'disk'?"));
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_told() {
    let (folder, file) = written(GOOD);
    let output = entrepot(folder.path(), &["check", "absent.toml"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("absent.toml: cannot read it"), "{}", text(&output.stderr));
    std::fs::write(&file, [0xff, 0xfe]).expect("written");
    assert!(text(&check(folder.path(), &file).stderr).contains("is not UTF-8 text"));
    assert!(text(&check(folder.path(), folder.path()).stderr).contains("cannot read"));
}

#[test]
fn the_version_is_told() {
    let output = entrepot(Path::new("."), &["--version"], &[]);
    assert_eq!(text(&output.stdout), format!("entrepot {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn serve_refuses_a_bad_configuration() {
    let (folder, file) = written("[[listener]]\naddress = 1\n");
    let file = file.to_str().expect("a path in UTF-8");
    for output in [
        entrepot(folder.path(), &["serve", "--config", file], &[]),
        entrepot(folder.path(), &["serve"], &[("ENTREPOT_CONFIG", file)]),
    ] {
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("entrepot.toml:2: listener[0].address: "), "{}", text(&output.stderr));
    }
}

#[test]
fn a_purge_that_cannot_be_asked_says_why() {
    let (folder, file) = written(GOOD);
    let digest = format!("sha256:{}", "a".repeat(64));
    let purge = |digest: &str, how: &[&str]| {
        let output = entrepot(folder.path(), &[&["cache", "purge", digest], how].concat(), &[]);
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    assert!(purge("sha256:abc", &["--admin", "127.0.0.1:1"]).contains("'sha256:abc' is not a digest"));
    assert!(purge(&digest, &["--admin", "127.0.0.1:1"]).contains("no answer from the admin endpoint 127.0.0.1:1"));
    let file = file.to_str().expect("a path in UTF-8");
    assert!(purge(&digest, &["--config", file]).contains("no answer from the admin endpoint 127.0.0.1:1"));
}

/// An admin endpoint that gives one answer; tells what it was asked.
fn admin_that_answers(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let served = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut asked = BufReader::new(&stream);
        let mut line = String::new();
        asked.read_line(&mut line).expect("a request");
        let mut rest = String::new();
        while asked.read_line(&mut rest).expect("a head") > 2 {
            rest.clear();
        }
        (&stream).write_all(answer.as_bytes()).expect("answered");
        line
    });
    (address, served)
}

#[test]
fn a_purge_asks_the_admin_endpoint_and_tells_what_it_said() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (answer, code, told) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"purged\":true}", 0, format!("{digest}: purged\n")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"purged\":false}", 0, format!("{digest}: not cached\n")),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 1, String::new()),
    ] {
        let (address, served) = admin_that_answers(answer);
        // A proxy of the environment must not come between.
        let variables = [("http_proxy", "http://127.0.0.1:9"), ("HTTP_PROXY", "http://127.0.0.1:9")];
        let output = entrepot(Path::new("."), &["cache", "purge", &digest, "--admin", &address], &variables);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(code), told), "{}", text(&output.stderr));
        let asked = served.join().expect("the endpoint served");
        assert_eq!(asked, format!("POST /cache/purge?digest={digest} HTTP/1.1\r\n"));
    }
}

#[test]
fn a_variable_that_is_no_key_is_refused_with_the_one_that_was_meant() {
    let (folder, file) = written(GOOD);
    let file = file.to_str().expect("a path in UTF-8");
    for (variable, told) in [
        ("ENTREPOT_CACHE_DISK", "ENTREPOT_CACHE_DISK: cache_disk: is not a key; did you mean ENTREPOT_CACHE__DISK?"),
        ("ENTREPOT_LOG_LEVEL", "ENTREPOT_LOG_LEVEL: log_level: is not a key; did you mean ENTREPOT_LOG__LEVEL?"),
        (
            "ENTREPOT_STORAGE_DRIVER",
            "ENTREPOT_STORAGE_DRIVER: storage_driver: is not a key; did you mean ENTREPOT_STORAGE__DRIVER?",
        ),
        ("ENTREPOT_THREDS", "ENTREPOT_THREDS: threds: is not a key; did you mean ENTREPOT_THREADS?"),
        ("ENTREPOT_ANYTHING", "ENTREPOT_ANYTHING: anything: is not a key; allowed: acme, admin, audit, auth, cache, "),
        ("ENTREPOT_CACHE__DISK__SIZE", "ENTREPOT_CACHE__DISK__SIZE: cache.disk: "),
    ] {
        for value in ["10GiB", ""] {
            let output = entrepot(folder.path(), &["check", file], &[(variable, value)]);
            let refused = output.status.code() == Some(1) && text(&output.stderr).starts_with(told);
            // To take away what is not there is no mistake where the key could be.
            assert!(
                refused || (value.is_empty() && variable.contains("__")),
                "{variable}={value}: {}",
                text(&output.stderr)
            );
        }
    }
}

#[test]
fn rules_are_shown_as_a_table_and_those_that_do_nothing_are_told_of() {
    let rules = "[[listener]]\naddress = \"127.0.0.1:5000\"\n[[route]]\nread = \"registry\"\nwrite = \"registry\"\n\
        [auth]\nusername = \"ann\"\npassword = \"not-to-be-shown\"\n[audit]\nto = \"audit.log\"\nrequired = true\n\
        [[auth.rule]]\nrepositories = \"public/**\"\nwho = [\"anonymous\"]\nallow = [\"pull\"]\n\
        [[auth.rule]]\nwho = [\"user:ann\", \"robot:ci\"]\nallow = [\"push\", \"delete\"]\ndeny = [\"overwrite\"]\nfrom = [\"10.0.0.0/8\"]\n\
        [[auth.rule]]\nrepositories = \"public/a\"\nwho = [\"user:ann\"]\nallow = [\"pull\"]\n";
    let (folder, file) = written(rules);
    let output = check(folder.path(), &file);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    for line in [
        "  route    any host, **: read registry, write registry, by the rules\n",
        "  rule 0   public/**  anonymous           allow pull\n",
        "  rule 1   **         user:ann, robot:ci  allow push, delete; deny overwrite; from 10.0.0.0/8\n",
        "  audit    to audit.log, without which nothing is changed\n",
        "  warning: auth.rule.2 says nothing that auth.rule.0 does not say\n",
    ] {
        assert!(told.contains(line), "{line}{told}");
    }
    assert!(!told.contains("not-to-be-shown") && !folder.path().join("audit.log").exists(), "{told}");
}
