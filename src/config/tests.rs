//! The whole way from text and variables to a configuration or its errors.

use std::path::{Path as FilePath, PathBuf};

use proptest::prelude::*;

use super::Config;
use super::errors::Errors;
use super::read::absent_keys;
use super::tree::{Node, Path};
use crate::cluster::authorization::Login;
use crate::cluster::config::{Authorization, Balance, PeerConfig, Tls, TlsSettings};
use crate::remote::config::{AskedAs, Credentials, Exec, KeepIn, Password};
use crate::storage::config::DriverKind;
use crate::telemetry::AccessTarget;
use crate::units::{Size, mebibytes, seconds};
use crate::{fleet, remote};

const MINIMAL: &str = r#"[[listener]]
address = "127.0.0.1:5000"
[cluster.main]
peers = ["127.0.0.1:5011"]
[[route]]
read = "cluster.main"
"#;

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, Errors> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("entrepot.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(Some(&file), pairs(variables))
}

pub fn pairs(variables: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    let owned: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    owned.into_iter()
}

fn errors(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let errors = load(text, variables).expect_err("this must not load");
    let lines = errors.0.iter().map(ToString::to_string);
    lines.map(|line| line.split_once("entrepot.toml:").map_or(line.clone(), |(_, rest)| rest.to_owned())).collect()
}

/// The least that loads.
pub fn minimal() -> Config {
    load(MINIMAL, &[]).unwrap()
}

fn conf(name: &str) -> PathBuf {
    FilePath::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

#[test]
fn an_instance_is_alone_while_nothing_lets_there_be_others() {
    let ours = "[[listener]]\naddress = \"127.0.0.1:5000\"\n[[route]]\nread = \"registry\"\nwrite = \"registry\"\n";
    let bucket = "[storage]\ndriver = \"s3\"\nbucket = \"abc\"\nregion = \"eu\"\n";
    let disk = "[storage]\ndriver = \"filesystem\"\nroot = \"/srv/registry\"\n";
    let told = "[fleet]\nadvertise = \"http://10.0.0.5:5000\"\n";
    let redis = "[redis]\nurl = \"redis://127.0.0.1:6379/0\"\n";
    for (text, alone) in [
        (MINIMAL.to_owned(), true),
        (format!("{ours}{disk}"), true),
        (format!("{ours}{bucket}"), false),
        // A bucket that no route leads to is nobody's.
        (format!("{MINIMAL}{bucket}"), true),
        (format!("{ours}{disk}{told}"), false),
        (format!("{ours}{disk}{redis}"), false),
    ] {
        assert_eq!(load(&text, &[]).unwrap().is_alone(), alone, "{text}");
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = minimal();
    assert_eq!(config.cache.memory, mebibytes(256));
    assert_eq!(config.drain.timeout, seconds(300));
    let cluster = &config.cluster["main"];
    assert_eq!(
        (cluster.verdict_ttl, cluster.stale, cluster.balance),
        (seconds(60), seconds(3600), Balance::LeastConnections)
    );
    assert_eq!(config.route[0].repositories, "**");
    assert_eq!(config.route[0].write, None);
}

#[test]
fn the_environment_alone_can_be_the_whole() {
    let config = Config::load(
        None,
        pairs(&[
            ("ENTREPOT_LISTENER__0__ADDRESS", "[::]:5000"),
            ("ENTREPOT_LISTENER__0__TRUSTED_PROXIES__0", "10.0.0.0/8"),
            ("ENTREPOT_LISTENER__0__MAX_CONNECTIONS", "12"),
            ("ENTREPOT_ADMIN__ADDRESS", "127.0.0.1:5001"),
            ("ENTREPOT_LOG__ACCESS", "off"),
            ("ENTREPOT_LOG__LEVEL", "debug"),
            ("ENTREPOT_CACHE__DISK", "10GiB"),
            ("ENTREPOT_CACHE__MEMORY", "1048576"),
            ("ENTREPOT_CACHE__PATH", "1234"),
            ("ENTREPOT_CLUSTER__MAIN__PEERS__0", "127.0.0.1:5011"),
            ("ENTREPOT_CLUSTER__MAIN__PEERS__1__ADDRESS", "[::1]:5012"),
            ("ENTREPOT_CLUSTER__MAIN__PEERS__1__WEIGHT", "2"),
            ("ENTREPOT_CLUSTER__MAIN__PEERS__2", "{ address = \"c:1\", backup = true }"),
            ("ENTREPOT_CLUSTER__MAIN__PEERS__3", "[::1]:5013"),
            ("ENTREPOT_CLUSTER__MAIN__RETRY", "{ tries = 2, statuses = [503] }"),
            ("ENTREPOT_CLUSTER__MAIN__FORWARD", "[\"/api/\", \"/service/\"]"),
            ("ENTREPOT_CLUSTER__MAIN__TLS", "true"),
            ("ENTREPOT_CLUSTER__MAIN__VERDICT_TTL", "5m"),
            ("ENTREPOT_CLUSTER__MAIN__HEALTH__PATH", "\"/v2/\""),
            ("ENTREPOT_ROUTE__0__READ", "cluster.main"),
        ]),
    )
    .unwrap();
    let listener = &config.listener[0];
    assert_eq!(listener.address, "[::]:5000".parse().unwrap());
    assert_eq!((listener.max_connections, listener.trusted_proxies.len()), (12, 1));
    assert_eq!((config.cache.disk, config.cache.memory), (mebibytes(10 << 10), mebibytes(1)));
    assert_eq!(config.cache.memory_max_object, mebibytes(1), "a default follows what it must not exceed");
    assert_eq!(config.cache.path, PathBuf::from("1234"), "a path that looks like a number is a path");
    assert_eq!(config.log.access, AccessTarget::Off);
    let cluster = &config.cluster["main"];
    let peers: Vec<_> = cluster.peers.iter().map(|peer| (peer.address.as_str(), peer.weight, peer.backup)).collect();
    assert_eq!(
        peers,
        [("127.0.0.1:5011", 1, false), ("[::1]:5012", 2, false), ("c:1", 1, true), ("[::1]:5013", 1, false)]
    );
    assert_eq!((cluster.retry.tries, cluster.retry.statuses.as_slice()), (2, [503].as_slice()));
    assert_eq!(cluster.forward, ["/api/", "/service/"]);
    assert_eq!(cluster.tls, Tls::Enabled(true));
    assert_eq!(cluster.verdict_ttl, seconds(300));
    assert_eq!(cluster.health.path, "/v2/");
}

#[test]
fn a_remote_can_be_declared_by_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let variables = [
        ("ENTREPOT_LISTENER__0__ADDRESS", "127.0.0.1:5000"),
        ("ENTREPOT_REMOTE__HUB__REGISTRY", "docker.io"),
        ("ENTREPOT_REMOTE__HUB__CREDENTIALS__0__USERNAME", "somebody"),
        ("ENTREPOT_REMOTE__HUB__CREDENTIALS__0__PASSWORD_FILE", password.to_str().unwrap()),
        ("ENTREPOT_REMOTE__HUB__CREDENTIALS__1", "{ exec = [\"helper\", \"x\"] }"),
        ("ENTREPOT_REMOTE__HUB__ON_EXHAUSTED", "429"),
        ("ENTREPOT_REMOTE__HUB__STALE", "7d"),
        ("ENTREPOT_REMOTE__HUB__TAG_TTL", "0s"),
        ("ENTREPOT_REMOTE__HUB__TIMEOUTS__MANIFEST", "2s"),
        ("ENTREPOT_ROUTE__0__READ", "remote.hub"),
    ];
    let config = Config::load(None, pairs(&variables)).unwrap();
    let hub = &config.remote["hub"];
    assert_eq!((hub.tag_ttl, hub.timeouts.manifest), (seconds(0), seconds(2)));
    assert_eq!(hub.timeouts.first_byte, seconds(20), "what is left out has its default");
    assert_eq!(hub.stale, remote::config::Stale::For(seconds(7 * 24 * 3600)));
    assert_eq!(hub.on_exhausted, remote::config::OnExhausted::TooMany);
    let login = Password { username: "somebody".into(), password_file: Some(password), password: None };
    let helper = Exec { exec: vec!["helper".into(), "x".into()] };
    assert_eq!(hub.credentials, [Credentials::Password(login), Credentials::Exec(helper)]);
    assert_eq!(hub.identity, AskedAs::Mirror);
}

#[test]
fn what_is_mirrored_is_kept_where_the_registry_has_its_content_or_in_the_cache() {
    let remote = "[[listener]]\naddress = \"127.0.0.1:5000\"\n[remote.hub]\nregistry = \"docker.io\"\n";
    let read = "[[route]]\nrepositories = \"docker.io/**\"\nread = \"remote.hub\"\n";
    let ours = "[[route]]\nread = \"registry\"\n";
    for (text, kept, opens) in [
        (format!("{remote}{read}"), KeepIn::Cache, false),
        (format!("{remote}{read}{ours}"), KeepIn::Storage, true),
        (format!("{remote}{read}write = \"registry\"\n"), KeepIn::Storage, true),
        (format!("{remote}keep = \"storage\"\n{read}"), KeepIn::Storage, true),
        (format!("{remote}keep = \"cache\"\n{read}{ours}"), KeepIn::Cache, true),
    ] {
        let config = load(&text, &[]).unwrap();
        assert_eq!((config.keeps(&config.remote["hub"]), config.uses_registry()), (kept, opens), "{text}");
        assert_eq!(config.warnings(), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn rules_count_on_routes_that_read_from_remotes() {
    let base = "[[listener]]\naddress = \"127.0.0.1:5000\"\n[remote.hub]\nregistry = \"docker.io\"\n[[route]]\nread = \"remote.hub\"\n";
    let ruled = |text: &str| {
        let config = load(text, &[]).unwrap();
        config.is_ruled(&config.route[0])
    };
    assert!(!ruled(base));
    assert!(ruled(&format!("{base}[auth]\nusername = \"a\"\npassword = \"b\"\n")));
    let everybody = base.replace("[[route]]", "[[route]]\nauth = \"peers\"");
    assert!(!ruled(&format!("{everybody}[auth]\nusername = \"a\"\npassword = \"b\"\n")));
    let callers = base.replace("[[route]]", "identity = \"caller\"\n[[route]]\nauth = \"peers\"");
    assert!(!ruled(&format!("{callers}[auth]\nusername = \"a\"\npassword = \"b\"\n")));
}

#[test]
fn what_may_not_be_meant_of_remotes_is_told() {
    let base = "[[listener]]\naddress = \"127.0.0.1:5000\"\n[remote.hub]\nregistry = \"docker.io\"\n[remote.quay]\nregistry = \"quay.io\"\n";
    let told = |more: &str| load(&format!("{base}{more}"), &[]).unwrap().warnings().join("\n");
    let routes = "[[route]]\nhosts = [\"a.test\"]\nrepositories = \"library/**\"\nread = \"remote.hub\"\n";
    let text = told(routes);
    assert!(text.contains("remote.quay is read by no [[route]]"), "{text}");
    assert!(text.contains("route.0 can never match: 'library/**' is no name of remote.hub"), "{text}");
    let redis = "[redis]\nurl = \"redis://127.0.0.1:6379/0\"\n";
    let text = told(&format!("{redis}[[route]]\nread = \"remote.hub\"\n"));
    assert!(text.contains("no `advertise` in [fleet]") && !text.contains("[redis] is for"), "{text}");
}

#[test]
fn the_environment_goes_before_the_file() {
    let text =
        format!("{MINIMAL}write = \"cluster.main\"\n[cache]\ndisk = \"1GiB\"\n[admin]\naddress = \"127.0.0.1:1\"\n");
    let variables = [("ENTREPOT_CACHE__DISK", "2GiB"), ("ENTREPOT_ROUTE__0__WRITE", ""), ("ENTREPOT_ADMIN", "")];
    let config = load(&text, &variables).unwrap();
    assert_eq!(config.cache.disk, Size(2 << 30));
    assert_eq!(config.route[0].write, None);
    assert_eq!(config.admin, None);
    assert_eq!(
        load(
            MINIMAL,
            &[
                ("ENTREPOT_ADMIN__ADDRESS", ""),
                ("ENTREPOT_CONFIG", "x"),
                ("HOME", "/"),
                ("ENTREPOT_ADMIN_USER", "root"),
                ("ENTREPOT_ADMIN_PASSWORD", "x"),
                ("ENTREPOT_ADMIN_PASSWORD_FILE", "/x"),
            ]
        )
        .unwrap()
        .admin,
        None
    );
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value, expected) in [
        ("ENTREPOT_CHACHE__DISK", "1GiB", "ENTREPOT_CHACHE__DISK: chache: is not a key; did you mean 'cache'?"),
        ("ENTREPOT_CACHE__DSIK", "1GiB", "ENTREPOT_CACHE__DSIK: cache.dsik: is not a key; did you mean 'disk'?"),
        (
            "ENTREPOT_ROUTE__0__WRIET",
            "",
            "ENTREPOT_ROUTE__0__WRIET: route[0].wriet: is not a key; did you mean 'write'?",
        ),
        ("ENTREPOT_CHACHE__DISK", "", "ENTREPOT_CHACHE__DISK: chache: is not a key"),
        ("ENTREPOT_CACHE_DISK", "1GiB", "ENTREPOT_CACHE_DISK: cache_disk: is not a key"),
        ("ENTREPOT_CACHE__DISK", "lots", "ENTREPOT_CACHE__DISK: cache.disk: 'lots' is not a size"),
        ("ENTREPOT_CACHE__MAX_FILLS", "0", "ENTREPOT_CACHE__MAX_FILLS: cache.max_fills: is 0; allowed: 1 to 65536"),
        ("ENTREPOT_CACHE__MAX_FILLS", "x", "ENTREPOT_CACHE__MAX_FILLS: cache.max_fills: is the text \"x\""),
        ("ENTREPOT_LOG", "debug", "ENTREPOT_LOG: log: is the text \"debug\", but must be a table"),
        ("ENTREPOT_LISTENER__5__ADDRESS", "a", "ENTREPOT_LISTENER__5__ADDRESS: listener: has the numbers below 1"),
        ("ENTREPOT_CLUSTER__MAIN__PEERS", "a:1", "ENTREPOT_CLUSTER__MAIN__PEERS: cluster.main.peers: is the text"),
        (
            "ENTREPOT_CLUSTER__MAIN__PEERS",
            "[\"a\"]",
            "ENTREPOT_CLUSTER__MAIN__PEERS: cluster.main.peers[0]: 'a' is not",
        ),
        ("ENTREPOT_ROUTE__0__READ", "cluster.x", "ENTREPOT_ROUTE__0__READ: route[0].read: is \"cluster.x\""),
    ] {
        let found = errors(MINIMAL, &[(name, value)]);
        assert!(found.iter().any(|line| line.starts_with(expected)), "{name}={value}: {found:?}");
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

#[test]
fn every_mistake_of_a_kind_is_told_in_one_go() {
    let text = "thread = 1\n[[listener]]\naddress = \"x\"\nmax_connections = \"many\"\n[cache]\ndisk = true\n[cluster.main]\npeers = [1]\n[[route]]\nwrite = \"cluster.main\"\n";
    let found = errors(text, &[]);
    let lines: Vec<_> = found.iter().map(|line| line.split(':').next().unwrap().parse::<usize>().unwrap()).collect();
    assert_eq!(lines, [1, 3, 4, 6, 8, 9], "{found:#?}");

    let found = errors(&format!("{MINIMAL}write = \"cluster.x\"\n[cache]\nmax_fills = 0\n"), &[]);
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let error = Config::load(Some(FilePath::new("/nowhere/x.toml")), pairs(&[])).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/x.toml: cannot read it: "), "{error}");
}

#[test]
fn without_a_file_it_is_a_registry_that_only_this_machine_reaches() {
    let config = Config::load(None, pairs(&[("HOME", "/")])).unwrap();
    assert_eq!(config.listener[0].address, "127.0.0.1:5000".parse().unwrap());
    assert_eq!(config.admin.unwrap().address, "127.0.0.1:5001".parse().unwrap());
    let route = &config.route[0];
    assert_eq!((route.read.as_str(), route.write.as_deref()), ("registry", Some("registry")));
    assert_eq!((config.listener.len(), config.route.len(), config.cluster.len()), (1, 1, 0));
    assert_eq!(config.storage, Default::default());
}

#[test]
fn the_environment_changes_the_registry_that_needs_no_file() {
    let variables = [
        ("ENTREPOT_LISTENER__0__ADDRESS", "0.0.0.0:80"),
        ("ENTREPOT_STORAGE__DRIVER", "memory"),
        ("ENTREPOT_ADMIN", ""),
        ("ENTREPOT_REGISTRY__OPEN_WRITES", "true"),
    ];
    let config = Config::load(None, pairs(&variables)).unwrap();
    assert_eq!(config.listener[0].address, "0.0.0.0:80".parse().unwrap());
    assert_eq!(config.storage.driver, DriverKind::Memory);
    assert_eq!(config.admin, None);
    assert!(config.uses_registry());
}

#[test]
fn an_environment_that_says_what_to_serve_gets_no_registry_besides() {
    let peers = ("ENTREPOT_CLUSTER__MAIN__PEERS__0", "a:5000");
    let config = Config::load(None, pairs(&[peers, ("ENTREPOT_ROUTE__0__READ", "cluster.main")])).unwrap();
    assert_eq!((config.route.len(), config.route[0].write.as_deref(), config.uses_registry()), (1, None, false));
    let error = Config::load(None, pairs(&[peers])).unwrap_err().to_string();
    assert!(error.starts_with("environment: route: is missing"), "{error}");
    let error = Config::load(None, pairs(&[("ENTREPOT_LISTENER__0__ADDRESS", "localhost")])).unwrap_err().to_string();
    assert!(error.starts_with("ENTREPOT_LISTENER__0__ADDRESS: listener[0].address: "), "{error}");
}

#[test]
fn the_files_in_conf_are_good() {
    for name in ["entrepot.toml", "front.toml", "registry.toml", "cluster.toml"] {
        Config::load(Some(&conf(name)), pairs(&[])).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

/// The reference with the examples that it keeps in comments (`#key = …`, no blank after the `#`) switched on.
fn whole_reference() -> Node {
    let text = std::fs::read_to_string(conf("entrepot.toml")).unwrap();
    let example = |line: &str| {
        line.strip_prefix('#')
            .filter(|rest| rest.starts_with(|c: char| !c.is_whitespace() && c != '#'))
            .map(str::to_owned)
    };
    let text: Vec<_> = text.lines().map(|line| example(line).unwrap_or_else(|| line.to_owned())).collect();
    Node::parse(&text.join("\n")).unwrap_or_else(|error| panic!("line {}: {}", error.line, error.what))
}

#[test]
fn the_reference_names_every_key() {
    let tree = whole_reference();
    let (outcome, absent) = absent_keys::<Config>(&tree);
    let config = outcome.unwrap_or_else(|fault| panic!("{:?}: {fault}", fault.path));
    // Later items of a list need not repeat what the first shows.
    let absent: Vec<_> = absent.iter().map(ToString::to_string).filter(|path| !later_item(path)).collect();
    assert_eq!(absent, Vec::<String>::new());

    let Authorization::Login(Login { username: _, password: _ }) = &config.cluster["main"].authorization else {
        panic!("cluster.main.authorization must show every key: {:?}", config.cluster["main"].authorization);
    };
    // These two are read as "this or that", so their keys are not seen above. A new one breaks the build here.
    let PeerConfig { address: _, weight: _, max_connections: _, backup: _ } = &config.cluster["main"].peers[1];
    let [
        Credentials::Password(Password { username: _, password_file: _, password: _ }),
        Credentials::Exec(Exec { exec: _ }),
    ] = config.remote["hub"].credentials.as_slice()
    else {
        panic!("remote.hub.credentials must show every key: {:?}", config.remote["hub"].credentials);
    };
    let Tls::Settings(TlsSettings {
        ca: Some(_),
        server_name: Some(_),
        client_certificate: Some(_),
        client_key: Some(_),
    }) = &config.cluster["main"].tls
    else {
        panic!("cluster.main.tls must show every key: {:?}", config.cluster["main"].tls);
    };
    for key in ["address", "weight", "max_connections", "backup"] {
        let path = Path::default().key("cluster").key("main").key("peers").index(1).key(key);
        assert!(tree.get(&path).is_some(), "{path}");
    }
}

fn later_item(path: &str) -> bool {
    path.split('[').skip(1).any(|rest| !rest.starts_with("0]"))
}

/// What the reference shows as the value is the default, except for what has none.
#[test]
fn the_reference_shows_the_defaults() {
    let reference = Config::load(Some(&conf("entrepot.toml")), pairs(&[])).unwrap();
    let minimal = minimal();
    assert_eq!(reference.threads, minimal.threads);
    assert_eq!(reference.log, minimal.log);
    assert_eq!(reference.drain, minimal.drain);
    assert_eq!(reference.cache, minimal.cache);
    let mut listener = reference.listener[0].clone();
    listener.address = minimal.listener[0].address.clone();
    assert_eq!(listener, minimal.listener[0]);
    let mut cluster = reference.cluster["main"].clone();
    cluster.peers = minimal.cluster["main"].peers.clone();
    // `tls = false` and no tls are the same; so are they here.
    cluster.tls = minimal.cluster["main"].tls.clone();
    assert_eq!(cluster, minimal.cluster["main"]);
    assert_eq!((&reference.registry, &reference.storage), (&minimal.registry, &minimal.storage));
    assert_eq!(reference.verify, minimal.verify);
    // The examples of [redis] are its defaults, but for those that have none.
    let (whole, _) = absent_keys::<Config>(&whole_reference());
    let whole = whole.unwrap();
    let shown = whole.redis.clone().unwrap();
    let defaults = fleet::Config { username: None, password: None, tls_ca: None, ..shown.clone() };
    assert_eq!(defaults, fleet::Config::at(shown.url));
    // Those of [remote.NAME] too.
    let shown = whole.remote["hub"].clone();
    let examples = remote::Config {
        path: None,
        url: None,
        credentials: Vec::new(),
        keep: None,
        proxy: None,
        redirects: Vec::new(),
        tls: None,
        ..shown
    };
    assert_eq!(examples, toml::from_str("registry = \"docker.io\"").unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_variables_make_it_panic(variables in prop::collection::vec((
        prop::collection::vec(prop_oneof![
            Just("LISTENER"), Just("CLUSTER"), Just("MAIN"), Just("PEERS"), Just("ROUTE"), Just("TLS"), Just("CACHE"),
            Just("0"), Just("1"), Just("00"), Just("1A"), Just("ADDRESS"), Just("HEALTH"), Just("X"), Just(""),
        ], 0..5),
        prop_oneof![
            Just(""), Just("1"), Just("[1, \"a\"]"), Just("{ address = \"a:1\", x = [{}] }"), Just("true"), Just("[[["),
            Just("\"quoted\""), Just("'"), Just("{ main = { peers = [\"a:1\"] } }"), Just("127.0.0.1:80"), Just("1e9"),
        ],
    ), 0..6)) {
        let pairs = variables.into_iter().map(|(steps, value)| (format!("ENTREPOT_{}", steps.join("__")), value.to_owned()));
        let mut tree = Node::parse(MINIMAL).unwrap();
        let _ = super::environment::overlay(&mut tree, pairs.clone());
        let _ = Config::load(None, pairs);
        if let Err(findings) = super::read::read::<Config>(tree) {
            prop_assert!(!findings.is_empty());
        }
    }
}

#[test]
fn no_depth_of_nesting_overflows_the_stack() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    for value in [deep("[", "]"), deep("{a=", "}"), "[".repeat(100_000)] {
        assert!(load(&format!("x = {value}\n{MINIMAL}"), &[]).is_err());
        assert!(load(MINIMAL, &[("ENTREPOT_CLUSTER__MAIN__PEERS", &value)]).is_err());
    }
    assert!(load(&format!("{}.x = 1\n", ["a"; 100_000].join(".")), &[]).is_err());
    assert!(load(MINIMAL, &[(&format!("ENTREPOT_{}", ["A"; 20_000].join("__")), "x")]).is_err());
}
