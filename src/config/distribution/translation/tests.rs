//! Files of distribution, and what they are here.

use super::{BUILT_IN, Translation};
use crate::config::Config;
use crate::config::distribution::{Machine, Secrets};
use crate::remote::config::{Credentials, KeepIn};
use crate::storage::config::DriverKind;
use crate::telemetry::AccessTarget;
use crate::units::seconds;

const MACHINE: Machine = Machine { ipv6: true };
const DISK: &str = "storage: {filesystem: {rootdirectory: /srv/r}}";

fn translated(text: &str, variables: &[(&str, &str)]) -> Result<Translation, Vec<String>> {
    let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Translation::of(&format!("version: 0.1\n{text}\n"), owned.collect(), MACHINE)
}

fn good(text: &str, variables: &[(&str, &str)]) -> Translation {
    translated(text, variables).unwrap_or_else(|faults| panic!("{text}: {faults:?}"))
}

fn config(text: &str, variables: &[(&str, &str)]) -> Config {
    good(text, variables).config(None).unwrap_or_else(|errors| panic!("{text}: {errors}"))
}

/// Our configuration as TOML, to look at keys in.
fn table(text: &str) -> toml::Table {
    let text = good(text, &[]).toml(Secrets::Shown);
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn faults(text: &str) -> String {
    match translated(text, &[]) {
        Ok(made) => panic!("{text}: {made:?}"),
        Err(faults) => faults.join("\n"),
    }
}

fn lost(text: &str) -> Vec<String> {
    good(text, &[]).told().lost
}

/// `table.key` or `table.0.key`
fn value<'a>(table: &'a toml::Table, path: &str) -> Option<&'a toml::Value> {
    let mut steps = path.split('/');
    let mut value = table.get(steps.next()?)?;
    for step in steps {
        value = match value {
            toml::Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
            value => value.get(step)?,
        };
    }
    Some(value)
}

#[track_caller]
fn becomes_ours(keys: &[(&str, &str, &str)]) {
    for (theirs, path, ours) in keys {
        let table = table(&format!("{theirs}\n{DISK}"));
        assert_eq!(value(&table, path).map(ToString::to_string).as_deref(), Some(*ours), "{theirs}: {table}");
    }
}

#[test]
fn each_key_of_http_becomes_ours() {
    becomes_ours(&[
        ("http: {addr: ':5001'}", "listener/0/address", "\"[::]:5001\""),
        ("http: {net: unix, addr: /run/r.sock}", "listener/0/address", "\"unix:/run/r.sock\""),
        ("http: {prefix: /registry/}", "listener/0/prefix", "\"/registry/\""),
        ("http: {tls: {certificate: a.pem, key: a.key, minimumtls: tls1.3}}", "listener/0/tls_min_version", "\"1.3\""),
        (
            "http: {tls: {certificate: a, key: b, ciphersuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]}}",
            "listener/0/tls_ciphers",
            "[\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]",
        ),
        ("http: {tls: {letsencrypt: {cachefile: /c/f, hosts: [r.example]}}}", "listener/0/tls/0/acme", "true"),
        (
            "http: {tls: {letsencrypt: {cachefile: /c/f, hosts: [r.example]}}}",
            "listener/0/tls/0/names",
            "[\"r.example\"]",
        ),
        ("http: {tls: {letsencrypt: {cachefile: /c/f, hosts: [r.example]}}}", "acme/storage", "\"/c/entrepot-acme\""),
        ("http: {tls: {letsencrypt: {email: a@b.example, hosts: [r.example]}}}", "acme/email", "\"a@b.example\""),
        (
            "http: {tls: {letsencrypt: {directoryurl: 'https://ca.example/d', hosts: [r.example]}}}",
            "acme/directory",
            "\"https://ca.example/d\"",
        ),
        ("http: {addr: ':5001', net: tcp4}", "listener/0/address", "\"0.0.0.0:5001\""),
        ("http: {addr: 'localhost:5000'}", "listener/0/address", "\"127.0.0.1:5000\""),
        ("", "listener/0/address", "\"[::]:5000\""),
        ("http: {tls: {certificate: a.pem, key: a.key}}", "listener/0/tls/0/certificate", "\"a.pem\""),
        ("http: {tls: {certificate: a.pem, key: a.key}}", "listener/0/tls/0/key", "\"a.key\""),
        ("http: {tls: {certificate: a.pem, key: a.key, clientcas: [ca.pem]}}", "listener/0/client_ca", "\"ca.pem\""),
        (
            "http: {tls: {certificate: a.pem, key: a.key, clientcas: [ca.pem]}}",
            "listener/0/client_certificate_required",
            "true",
        ),
        ("http: {headers: {X-Frame-Options: [deny]}}", "listener/0/headers/X-Frame-Options", "\"deny\""),
        ("http: {headers: {X-A: [b, c]}}", "listener/0/headers/X-A", "\"b, c\""),
        ("http: {headers: {Access-Control-Allow-Origin: ['*']}}", "cors/origins/0", "\"*\""),
        ("http: {draintimeout: 60s}", "drain/timeout", "\"1m\""),
        ("http: {debug: {addr: 'localhost:5001'}}", "admin/address", "\"127.0.0.1:5001\""),
    ]);
}

#[test]
fn each_other_key_becomes_ours() {
    becomes_ours(&[
        ("log: {level: warning}", "log/level", "\"warn\""),
        ("loglevel: debug", "log/level", "\"debug\""),
        ("log: {formatter: json}", "log/format", "\"json\""),
        ("log: {accesslog: {disabled: true}}", "log/access", "\"off\""),
        ("auth: {htpasswd: {realm: x, path: /auth/htpasswd}}", "auth/htpasswd", "\"/auth/htpasswd\""),
        (
            "auth: {htpasswd: {path: p}}\nhttp: {host: 'https://r.example/'}",
            "auth/realm",
            "\"https://r.example/token\"",
        ),
        (
            "auth: {htpasswd: {path: p}}\nhttp: {host: 'https://r.example', prefix: /registry/}",
            "auth/realm",
            "\"https://r.example/registry/token\"",
        ),
        ("redis: {addr: 'redis:6379', db: 3}", "redis/url", "\"redis://redis:6379/3\""),
        ("redis: {addrs: [redis]}", "redis/url", "\"redis://redis:6379/0\""),
        ("redis: {addr: 'r:1', tls: {enabled: true}}", "redis/url", "\"rediss://r:1/0\""),
        ("redis: {addr: 'r:1', tls: {rootcas: [ca.pem]}}", "redis/tls_ca", "\"ca.pem\""),
        ("redis: {addr: 'r:1', password: 'a b'}", "redis/password", "\"a b\""),
        ("redis: {addr: 'r:1', dialtimeout: 10ms}", "redis/connect_timeout", "\"10ms\""),
        ("redis: {addr: 'r:1', readtimeout: 10ms, writetimeout: 20ms}", "redis/command_timeout", "\"20ms\""),
        ("redis: {addr: 'r:1', readtimeout: 1m}", "redis/command_timeout", "\"5s\""),
        ("catalog: {maxentries: 500}", "registry/catalog_max", "500"),
        ("tags: {maxtags: 50}", "registry/tags_max", "50"),
        ("", "registry/delete", "false"),
        ("", "registry/open_writes", "true"),
        ("", "registry/upload_expiry", "\"168h\""),
        ("", "storage/root", "\"/srv/r\""),
        ("", "cache/path", "\"/srv/r/entrepot-cache\""),
        ("proxy: {remoteurl: 'https://registry-1.docker.io'}", "remote/upstream/registry", "\"docker.io\""),
        ("proxy: {remoteurl: 'http://up:5000'}", "remote/upstream/url", "\"http://up:5000\""),
        ("proxy: {remoteurl: 'https://ghcr.io', exec: {command: h}}", "remote/upstream/credentials/0/exec/0", "\"h\""),
        ("proxy: {remoteurl: 'https://ghcr.io'}", "route/0/read", "\"remote.upstream\""),
    ]);
}

#[test]
fn what_storage_says_beside_its_driver_is_understood() {
    for (theirs, path, ours) in [
        ("delete: {enabled: true}", "registry/delete", "true"),
        ("maintenance: {readonly: {enabled: true}}", "registry/read_only", "true"),
        ("maintenance: {uploadpurging: {enabled: false}}", "registry/upload_purge", "false"),
        ("maintenance: {uploadpurging: {enabled: true, dryrun: true}}", "registry/upload_purge", "\"dry-run\""),
        ("maintenance: {uploadpurging: {age: 48h}}", "registry/upload_expiry", "\"48h\""),
        ("maintenance: {uploadpurging: {age: 48h}}", "registry/upload_idle", "\"48h\""),
        ("maintenance: {uploadpurging: {age: 1m}}", "registry/upload_expiry", "\"1h\""),
        ("maintenance: {uploadpurging: {interval: 12h}}", "registry/upload_purge_interval", "\"12h\""),
        ("maintenance: {uploadpurging: {interval: 1000h}}", "registry/upload_purge_interval", "\"168h\""),
        ("redirect: {disable: true}", "registry/redirect", "false"),
        ("redirect: {disable: false}", "registry/redirect", "true"),
        ("tag: {concurrencylimit: 5}", "registry/redirect", "true"),
        ("tag: ", "storage/encryption", "\"aws:kms\""),
        ("tag: ", "storage/kms_key", "\"k\""),
        ("tag: ", "storage/storage_class", "\"STANDARD_IA\""),
    ] {
        let s3 = "bucket: b, region: eu-west-1, encrypt: true, keyid: k, storageclass: STANDARD_IA";
        let table = table(&format!("storage: {{s3: {{{s3}}}, {theirs}}}"));
        assert_eq!(value(&table, path).map(ToString::to_string).as_deref(), Some(ours), "{theirs}: {table}");
    }
    assert_eq!(value(&table(DISK), "registry/redirect"), None, "a disk has nowhere to redirect to");
}

/// One reader of drivers: what is served from is what garbage is collected in.
#[test]
fn storage_is_what_a_collection_reads() {
    for storage in [
        "filesystem",
        "{filesystem: {rootdirectory: /x, maxthreads: 100}}",
        "{s3: {bucket: b, region: eu-west-1, rootdirectory: /r, accesskey: a, secretkey: 'x\"y'}}",
        "{s3: {bucket: b, region: x, regionendpoint: 'minio:9000', secure: false, forcepathstyle: false}}",
        "{s3: {bucket: b, region: x, secure: false, encrypt: true, keyid: k, storageclass: onezone_ia}}",
        "{azure: {accountname: a, accountkey: a2V5, container: c, realm: core.chinacloudapi.cn}}",
        "{gcs: {bucket: b, keyfile: /k.json, rootdirectory: r}}",
    ] {
        let text = format!("storage: {storage}");
        let collected = super::super::collected::parse(&format!("version: 0.1\n{text}"), []).unwrap().storage;
        assert_eq!(config(&text, &[]).storage, collected, "{storage}");
    }
}

#[test]
fn variables_alone_are_what_they_are_over_the_images_own_file() {
    let of = |variables: &[(&str, &str)]| {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Translation::of(BUILT_IN, owned.collect(), MACHINE).unwrap().config(None).unwrap()
    };
    let plain = of(&[]);
    assert_eq!(plain.storage.root.to_str(), Some("/var/lib/registry"));
    assert_eq!(plain.listener[0].address.to_string(), "[::]:5000");
    assert!(plain.registry.open_writes && !plain.registry.delete && plain.auth.is_none() && plain.admin.is_none());
    let more = of(&[
        ("REGISTRY_HTTP_ADDR", "127.0.0.1:5555"),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/data"),
        ("REGISTRY_HTTP_ENABLED", "true"),
        ("REGISTRY_URL", "registry.example"),
        ("REGISTRY_LOADBALANCER_SERVER_PORT", "5000"),
        ("REGISTRY_HTTP_SERVICE_HOST", "10.0.0.1"),
        ("REGISTRY_USERNAME", "admin"),
        ("REGISTRY_PASSWORD", "changeme"),
    ]);
    assert_eq!((more.listener[0].address.to_string().as_str(), more.registry.delete), ("127.0.0.1:5555", true));
    assert_eq!(more.storage.root.to_str(), Some("/data"));
    let auth = more.auth.unwrap();
    assert_eq!((auth.username.as_deref(), auth.password.unwrap().reveal()), (Some("admin"), "changeme"));
    assert!(!more.registry.open_writes);
    let told = more.translated.unwrap();
    assert!(told.lost.iter().any(|what| what == "http.enabled is not known, and ignored"), "{:?}", told.lost);
    let unknown: Vec<_> = told.lost.iter().filter(|what| what.starts_with("REGISTRY_")).collect();
    assert_eq!(unknown.len(), 2, "{unknown:?}");
    assert!(unknown.iter().any(|what| what.starts_with("REGISTRY_URL is not known, and ignored")), "{unknown:?}");
    let bucket = of(&[
        ("REGISTRY_STORAGE", "s3"),
        ("REGISTRY_STORAGE_S3_BUCKET", "b"),
        ("REGISTRY_STORAGE_S3_REGION", "eu-west-1"),
        ("REGISTRY_HTTP_HEADERS_X-Frame-Options", "[deny]"),
        ("REGISTRY_REDIS_OPTIONS_ADDRS", "[redis:6379]"),
    ]);
    assert_eq!((bucket.storage.driver, bucket.redis.is_some()), (DriverKind::S3, true));
}

#[test]
fn a_line_says_which_variable_a_key_is_of_and_no_secret() {
    let text = "storage: {s3: {bucket: b, region: x, accesskey: a, secretkey: hush}}\n\
                redis: {addr: 'r:1', password: hush}\nproxy: {remoteurl: 'https://ghcr.io', username: ann, password: hush}";
    let made = good(text, &[("REGISTRY_STORAGE_S3_BUCKET", "c"), ("REGISTRY_HTTP_ADDR", "':5000'")]);
    let told = made.told();
    for line in [
        "storage.s3.bucket (REGISTRY_STORAGE_S3_BUCKET) is storage.bucket = \"c\"",
        "http.addr (REGISTRY_HTTP_ADDR) is listener.address = \"[::]:5000\"",
        "storage.s3.secretkey is storage.secret_access_key = (a secret)",
        "proxy.username, proxy.password is remote.upstream.credentials = \"ann\" and a secret",
    ] {
        assert!(told.keys.iter().any(|known| known == line), "{line}: {:#?}", told.keys);
    }
    let folder = std::path::Path::new("/etc/entrepot");
    let written = made.toml(Secrets::InFiles(&|name| folder.join(name)));
    assert!(!written.contains("hush") && !format!("{told:?} {made:?}").contains("hush"), "{written}");
    for line in [
        "secret_access_key_file = \"/etc/entrepot/storage.secret_access_key\"",
        "password_file = \"/etc/entrepot/redis.password\"",
        "password_file = \"/etc/entrepot/remote.upstream.password\"",
    ] {
        assert!(written.contains(line), "{line}: {written}");
    }
    let names: Vec<String> = made.secrets().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["storage.secret_access_key", "redis.password", "remote.upstream.password"]);
}

#[test]
fn a_mirror_keeps_in_storage_and_takes_no_pushes() {
    let text = "proxy: {remoteurl: 'https://registry-1.docker.io', username: ann, password: hush, ttl: 168h}";
    let config = config(&format!("{text}\n{DISK}"), &[]);
    let remote = &config.remote["upstream"];
    assert_eq!(
        (remote.registry.as_str(), remote.keep, remote.tag_ttl),
        ("docker.io", Some(KeepIn::Storage), seconds(0))
    );
    let [Credentials::Password(login)] = remote.credentials.as_slice() else { panic!("{:?}", remote.credentials) };
    assert_eq!((login.username.as_str(), login.password.as_ref().map(|secret| secret.reveal())), ("ann", Some("hush")));
    assert_eq!((config.route[0].read.as_str(), config.route[0].write.as_deref()), ("remote.upstream", None));
    assert!(lost(&format!("{text}\n{DISK}")).iter().any(|what| what.starts_with("proxy.ttl has no counterpart")));
}

#[test]
fn what_has_no_counterpart_is_told_of_with_the_reason() {
    for (text, told) in [
        ("log: {fields: {service: registry}}", "log.fields has no counterpart"),
        ("log: {formatter: logstash}", "log.formatter is logstash"),
        ("http: {http2: {disabled: true}}", "http.http2.disabled has no counterpart"),
        (
            "auth: {htpasswd: {path: p}}\nhttp: {debug: {addr: ':5001'}}",
            "http.debug.addr is reached from other machines",
        ),
        ("http: {tls: {minimumtls: tls1.3}}", "http.tls.minimumtls is for TLS"),
        ("http: {debug: {addr: 'localhost:5001', prometheus: {path: /m}}}", "http.debug.prometheus.path is \"/m\""),
        ("http: {tls: {certificate: a, key: b, minimumtls: tls1.4}}", "http.tls.minimumtls is no version"),
        (
            "http: {tls: {certificate: a, key: b, ciphersuites: [TLS_RSA_WITH_AES_128_CBC_SHA]}}",
            "http.tls.ciphersuites names TLS_RSA_WITH_AES_128_CBC_SHA",
        ),
        ("health: {tcp: [{addr: 'redis:6379'}]}", "health.tcp has no counterpart"),
        ("notifications: {endpoints: [{name: scan, url: 'http://a'}]}", "notifications.endpoints[0] (scan) has no"),
        ("middleware: {storage: [{name: cloudfront}]}", "middleware.storage.cloudfront has no counterpart: clients"),
        (
            "validation: {manifests: {urls: {allow: ['^https://']}}}",
            "validation.manifests.urls.allow has no counterpart",
        ),
        ("validation: {manifests: {indexes: {platforms: none}}}", "validation.manifests.indexes.platforms is none"),
        ("policy: {repository: {classes: [image]}}", "policy has no counterpart"),
        ("redis: {addrs: ['a:1', 'b:1']}", "redis.addrs has no counterpart"),
        ("redis: {addrs: ['a:1'], mastername: m}", "redis.mastername has no counterpart"),
        ("http: {adress: ':5000'}", "http.adress is not known, and ignored"),
        ("sorage: {}", "sorage is not known, and ignored"),
    ] {
        let lost = lost(&format!("{text}\n{DISK}"));
        assert!(lost.iter().any(|what| what.starts_with(told)), "{text}: {lost:#?}");
    }
    let lost = lost(
        "storage: {s3: {bucket: b, region: x, keyid: k, accelerate: true, objectacl: private, chunksize: 5242880}}",
    );
    for key in ["storage.s3.keyid is ignored", "storage.s3.accelerate has no", "storage.s3.objectacl has no"] {
        assert!(lost.iter().any(|what| what.starts_with(key)), "{key}: {lost:#?}");
    }
    assert!(!lost.iter().any(|what| what.contains("chunksize")), "nobody needs to know: {lost:#?}");
}

#[test]
fn what_would_not_be_safe_to_pass_over_is_refused_by_its_key() {
    for (text, told) in [
        ("http: {net: udp}", "http.net is \"udp\""),
        ("http: {net: unix}", "http.net is \"unix\", and http.addr does not say"),
        ("http: {addr: 'registry:5000'}", "http.addr is \"registry:5000\""),
        ("http: {tls: {certificate: a.pem}}", "http.tls.key is missing"),
        ("http: {tls: {letsencrypt: {cachefile: /c}}}", "http.tls.letsencrypt.hosts is missing"),
        (
            "http: {tls: {certificate: a, key: b, letsencrypt: {cachefile: /c, hosts: [a]}}}",
            "http.tls.letsencrypt stands beside",
        ),
        ("http: {debug: {addr: ':5001'}}", "http.debug.addr is \":5001\", which other machines reach"),
        ("http: {tls: {clientcas: [a.pem]}}", "http.tls.clientcas is given without"),
        ("http: {tls: {certificate: a, key: b, clientcas: [a, b]}}", "http.tls.clientcas names several"),
        (
            "http: {tls: {certificate: a, key: b, clientcas: [a]}}\nauth: {htpasswd: {path: p}}",
            "http.tls.clientcas stands",
        ),
        ("http: {draintimeout: soon}", "http.draintimeout is no span"),
        ("log: {level: loud}", "log.level is \"loud\""),
        ("auth: {silly: {realm: a, service: b}}", "auth.silly lets in"),
        ("auth: {ldap: {}}", "auth.ldap is not supported"),
        ("auth: {htpasswd: {realm: a}}", "auth.htpasswd.path is missing"),
        ("auth: {htpasswd: {}, token: {}}", "must provide exactly one auth type"),
        ("auth: {token: {realm: a, service: b, issuer: c}}", "auth.token.rootcertbundle is missing"),
        ("auth: [htpasswd]", "auth is neither a mapping"),
        ("redis: {db: 1}", "redis.addr is missing"),
        ("redis: {addr: 'r:1', tls: {certificate: a, key: b}}", "redis.tls.certificate is given"),
        ("proxy: {remoteurl: 'https://ann:hush@a.example'}", "proxy.remoteurl has a login"),
        ("proxy: {remoteurl: 'https://a.example', username: ann}", "proxy.password is missing"),
        ("http: 5000", "http is no mapping"),
    ] {
        let faults = faults(&format!("{text}\n{DISK}"));
        assert!(faults.starts_with(told) && !faults.contains("hush"), "{text}: {faults}");
    }
    let both = faults("storage: {inmemory: }\nlog: {level: loud}");
    assert!(both.contains("storage.inmemory is the memory") && both.contains("log.level"), "{both}");
}

#[test]
fn what_is_wrong_with_a_value_is_told_of_the_key_that_it_was_made_of() {
    let told = |text: &str, variables: &[(&str, &str)]| {
        good(&format!("{text}\n{DISK}"), variables).config(Some("config.yml".as_ref())).unwrap_err().to_string()
    };
    let absent = told("auth: {htpasswd: {path: /nowhere/htpasswd}}", &[]);
    assert!(absent.starts_with("config.yml: auth.htpasswd.path (auth.htpasswd): "), "{absent}");
    let bound = told("tags: {maxtags: 1000000}", &[]);
    assert!(bound.starts_with("config.yml: tags.maxtags (registry.tags_max): is 1000000; allowed"), "{bound}");
    let field = told("http: {headers: {Content-Length: ['0']}}", &[]);
    assert!(field.starts_with("config.yml: http.headers (listener[0].headers"), "{field}");
    let variable = told("", &[("REGISTRY_TAGS_MAXTAGS", "1000000")]);
    assert!(variable.starts_with("REGISTRY_TAGS_MAXTAGS: tags.maxtags (registry.tags_max): "), "{variable}");
}

#[test]
fn items_of_lists_are_set_by_their_number() {
    let variables =
        [("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME", "scan"), ("REGISTRY_NOTIFICATIONS_ENDPOINTS_1_NAME", "more")];
    let lost = good(DISK, &variables).told().lost;
    assert!(lost.iter().any(|what| what.starts_with("notifications.endpoints[1] (more)")), "{lost:?}");
    let tls = [("REGISTRY_REDIS_ADDRS_0", "'r:1'")];
    assert_eq!(config(DISK, &tls).redis.unwrap().url.port, 1);
}

#[test]
fn what_is_of_nobody_in_particular_is_passed_over() {
    let config = config(&format!("{DISK}\nx-common: &c {{a: 1}}\nlog: {{accesslog: {{disabled: true}}}}"), &[]);
    assert_eq!(config.log.access, AccessTarget::Off);
    assert!(config.translated.unwrap().lost.iter().all(|what| !what.starts_with("x-")));
}

#[test]
fn no_text_makes_it_panic() {
    let values = ["", "5", "x", "[x]", "{x: y}", "{x: [1, {y: ~}]}", "!t x", "'\\n'"];
    let sections =
        ["log", "storage", "auth", "middleware", "http", "notifications", "redis", "health", "proxy", "validation"];
    for section in sections {
        for value in values {
            for key in
                ["", "addr", "tls", "headers", "endpoints", "storage", "htpasswd", "file", "remoteurl", "manifests"]
            {
                let inner = if key.is_empty() { value.to_owned() } else { format!("{{{key}: {value}}}") };
                if let Ok(made) =
                    translated(&format!("{section}: {inner}\n{DISK}"), &[("REGISTRY_HTTP_TLS_0_X", value)])
                {
                    let _ = made.config(None);
                }
            }
        }
    }
}

#[test]
fn a_user_by_variables_is_asked_for_as_one_by_the_file_is() {
    let user = [("REGISTRY_USERNAME", "ann"), ("REGISTRY_PASSWORD", "hush")];
    let text = good(&format!("{DISK}\nhttp: {{host: 'https://r.example', debug: {{addr: ':5001'}}}}"), &user);
    assert!(text.toml(Secrets::Shown).contains("realm = \"https://r.example/token\""));
    let certificates = "http: {tls: {certificate: a, key: b, clientcas: [c]}}";
    let faults = translated(&format!("{certificates}\n{DISK}"), &user).unwrap_err();
    assert!(faults.iter().any(|fault| fault.starts_with("http.tls.clientcas stands")), "{faults:?}");
    assert!(translated(&format!("{certificates}\n{DISK}"), &[]).is_ok());
}

#[test]
fn logins_of_podman_are_no_key() {
    let variables = [("REGISTRY_AUTH_FILE".to_owned(), "/run/auth.json".to_owned())];
    assert!(crate::config::distribution::keys(&variables).is_empty());
    assert_eq!(good(DISK, &[("REGISTRY_AUTH_FILE", "/run/auth.json")]).told(), good(DISK, &[]).told());
}
