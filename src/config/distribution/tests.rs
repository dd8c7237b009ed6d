//! Files of users, and what is wrong with others.

use super::Distribution;
use super::collected::parse;
use crate::storage::Config;
use crate::storage::config::{DriverKind, Encryption};

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Distribution, String> {
    parse(text, variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn storage(text: &str, variables: &[(&str, &str)]) -> Config {
    read(&format!("version: 0.1\n{text}"), variables).unwrap_or_else(|what| panic!("{text}: {what}")).storage
}

fn fault(text: &str, variables: &[(&str, &str)]) -> String {
    match read(&format!("version: 0.1\n{text}"), variables) {
        Ok(read) => panic!("{text}: {read:?}"),
        Err(what) => what,
    }
}

#[test]
fn a_registry_on_minio_as_a_user_runs_it() {
    let text = "
log: {level: info, formatter: json}
storage:
  s3:
    accesskey: minioadmin
    secretkey: minioadmin123
    region: us-east-1
    regionendpoint: http://minio:9000
    bucket: registry-storage
    secure: false
    v4auth: true
    chunksize: 5242880
    multipartcopychunksize: 33554432
    multipartcopymaxconcurrency: 100
    multipartcopythresholdsize: 33554432
    rootdirectory: /
  cache:
    blobdescriptor: redis
  delete:
    enabled: true
  redirect:
    disable: true
  maintenance:
    uploadpurging: {enabled: true, age: 168h, interval: 24h, dryrun: false}
    readonly: {enabled: false}
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
redis:
  addr: redis:6379
  pool: {maxidle: 16, maxactive: 64, idletimeout: 300s}
notifications:
  endpoints:
    - name: scanner
      url: http://scanner:5002/webhook
";
    let read = read(&format!("version: 0.1\n{text}"), &[]).unwrap();
    let config = read.storage;
    assert_eq!(config.driver, DriverKind::S3);
    assert_eq!(config.bucket, "registry-storage");
    assert_eq!(config.endpoint.as_deref(), Some("http://minio:9000"));
    assert_eq!(config.region.as_deref(), Some("us-east-1"));
    assert_eq!(config.access_key_id.as_deref(), Some("minioadmin"));
    assert_eq!(config.secret_access_key.as_ref().map(|secret| secret.reveal()), Some("minioadmin123"));
    assert_eq!((config.prefix.trim_matches('/'), config.path_style, config.sign_payload), ("", None, false));
    let [note] = read.notes.as_slice() else { panic!("{:?}", read.notes) };
    assert!(note.starts_with("storage.cache.blobdescriptor is redis"), "{note}");
}

/// What decides whether bytes go at once.
#[test]
fn what_a_registry_remembers_and_whether_it_is_read_only_is_read() {
    let of = |more: &str, variables: &[(&str, &str)]| {
        let text = format!("version: 0.1\nstorage: {{filesystem: , {more}}}");
        let read = read(&text, variables).unwrap_or_else(|what| panic!("{text}: {what}"));
        assert_eq!(read.notes.len(), usize::from(read.cache.is_some()), "{:?}", read.notes);
        (read.cache, read.read_only)
    };
    for (more, cache, read_only) in [
        ("", None, false),
        ("cache: {blobdescriptor: inmemory}", Some("inmemory"), false),
        ("cache: {layerinfo: redis}", Some("redis"), false),
        ("cache: {blobdescriptor: ''}", None, false),
        ("cache: {blobdescriptor: memcached}", None, false),
        ("cache: , maintenance: {readonly: {enabled: true}}", None, true),
        ("cache: {blobdescriptor: redis}, maintenance: {readonly: {enabled: false}}", Some("redis"), false),
        ("maintenance: {readonly: {enabled: 'true'}}", None, false),
        ("maintenance: {readonly: }", None, false),
    ] {
        assert_eq!(of(more, &[]), (cache, read_only), "{more}");
    }
    assert_eq!(of("", &[("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true")]), (None, true));
    assert_eq!(of("", &[("REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR", "inmemory")]), (Some("inmemory"), false));
}

#[test]
fn a_volume_by_file_by_variables_and_by_default() {
    for (text, variables, root) in [
        ("storage: {filesystem: {rootdirectory: /srv/registry, maxthreads: 100}}", &[][..], "/srv/registry"),
        ("storage: {filesystem: }", &[], "/var/lib/registry"),
        ("storage: filesystem", &[], "/var/lib/registry"),
        ("storage: filesystem", &[("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/x")], "/x"),
        ("storage: {filesystem: {rootdirectory: /a}}", &[("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/b")], "/b"),
        (
            "storage: {s3: {bucket: b}, cache: {blobdescriptor: inmemory}}",
            &[("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/c"), ("REGISTRY_STORAGE", "filesystem")],
            "/c",
        ),
        ("storage: {s3: {bucket: b}}", &[("REGISTRY_STORAGE", "{filesystem: {rootdirectory: /d}}")], "/d"),
        ("log: {}", &[("REGISTRY_STORAGE_FILESYSTEM", "{rootdirectory: /e}"), ("REGISTRY_HTTP_ADDR", ":5000")], "/e"),
    ] {
        let config = storage(text, variables);
        assert_eq!((config.driver, config.root.to_str()), (DriverKind::Filesystem, Some(root)), "{text} {variables:?}");
    }
}

#[test]
fn buckets_by_variables_alone() {
    let config = storage(
        "storage: filesystem",
        &[
            ("REGISTRY_STORAGE", "s3"),
            ("REGISTRY_STORAGE_S3_BUCKET", "images"),
            ("REGISTRY_STORAGE_S3_REGION", "eu-central-1"),
            ("REGISTRY_STORAGE_S3_ACCESSKEY", "1234"),
            ("REGISTRY_STORAGE_S3_SECRETKEY", "abc/def+"),
            ("REGISTRY_STORAGE_S3_ROOTDIRECTORY", "/team/registry/"),
            ("REGISTRY_STORAGE_S3_REGIONENDPOINT", "minio:9000"),
            ("REGISTRY_STORAGE_S3_SECURE", "no"),
            ("REGISTRY_STORAGE_S3_FORCEPATHSTYLE", "false"),
            ("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true"),
        ],
    );
    assert_eq!((config.bucket.as_str(), config.prefix.as_str()), ("images", "/team/registry/"));
    assert_eq!((config.endpoint.as_deref(), config.path_style), (Some("http://minio:9000"), Some(false)));
    assert_eq!(config.access_key_id.as_deref(), Some("1234"));
}

#[test]
fn amazon_has_several_addresses() {
    let s3 = |more: &str| storage(&format!("storage: {{s3: {{bucket: b, region: eu-west-1{more}}}}}"), &[]);
    for (more, endpoint) in [
        ("", None),
        (", usedualstack: true", Some("https://s3.dualstack.eu-west-1.amazonaws.com")),
        (", usefipsendpoint: true", Some("https://s3-fips.eu-west-1.amazonaws.com")),
        (", secure: false", Some("http://s3.eu-west-1.amazonaws.com")),
        (", regionendpoint: minio:9000", Some("https://minio:9000")),
        (", regionendpoint: 'http://minio:9000/', usedualstack: true", Some("http://minio:9000")),
    ] {
        assert_eq!(s3(more).endpoint.as_deref(), endpoint, "{more}");
    }
    assert_eq!(s3(", secure: false").path_style, Some(false));
    assert!(s3(", secure: false").sign_payload);
    assert_eq!(s3(", forcepathstyle: true, regionendpoint: a").path_style, Some(true));
    // No keys: the environment's, the container's or the instance's.
    assert_eq!((s3("").access_key_id, s3(", accesskey: ''").access_key_id), (None, None));
}

#[test]
fn azure_and_google() {
    let azure = storage("storage: {azure: {accountname: a, accountkey: a2V5, container: c, rootdirectory: /r}}", &[]);
    assert_eq!((azure.driver, azure.bucket.as_str(), azure.prefix.as_str()), (DriverKind::Azure, "c", "/r"));
    assert_eq!((azure.account.as_deref(), azure.endpoint), (Some("a"), None));
    let china = "storage: {azure: {accountname: a, container: c, realm: core.chinacloudapi.cn, max_retries: 3}}";
    assert_eq!(storage(china, &[]).endpoint.as_deref(), Some("https://a.blob.core.chinacloudapi.cn"));
    let azurite = "storage: {azure: {accountname: a, container: c, serviceurl: 'http://127.0.0.1:10000/a'}}";
    assert_eq!(storage(azurite, &[]).endpoint.as_deref(), Some("http://127.0.0.1:10000/a"));
    let gcs = storage("storage: {gcs: {bucket: b, keyfile: /k.json, chunksize: 5242880, rootdirectory: /r}}", &[]);
    assert_eq!((gcs.driver, gcs.service_account), (DriverKind::Gcs, Some("/k.json".into())));
}

#[test]
fn what_is_not_supported_is_named_by_its_key() {
    for (text, said) in [
        ("storage: {swift: {username: x}}", "storage.swift is not supported here; supported: filesystem"),
        ("storage: {oss: {}}", "storage.oss is not supported"),
        ("storage: {inmemory: {}}", "storage.inmemory is the memory"),
        ("storage: {s3: {region: x}}", "storage.s3.bucket is missing"),
        ("storage: {s3: {bucket: b}}", "storage.s3.region is missing"),
        ("storage: {s3: {bucket: b, region: x, skipverify: true}}", "storage.s3.skipverify is true"),
        ("storage: {s3: {bucket: b, region: x, v4auth: false}}", "storage.s3.v4auth is false"),
        ("storage: {s3: {bucket: b, region: x, secure: maybe}}", "storage.s3.secure is neither true nor false"),
        ("storage: {s3: {bucket: b, region: x, accesskey: a}}", "storage.s3.secretkey is missing"),
        (
            "storage: {s3: {bucket: b, region: x, secretkey: 1.5, accesskey: a}}",
            "storage.s3.secretkey looks like a number",
        ),
        ("storage: {s3: {bucket: b, region: x, rootdirectory: a//b}}", "storage.s3.rootdirectory is \"a//b\""),
        ("storage: {s3: {bucket: [b], region: x}}", "storage.s3.bucket is no text"),
        ("storage: {azure: {accountname: a, container: c, connectionstring: x}}", "storage.azure.connectionstring"),
        ("storage: {azure: {container: c}}", "storage.azure.accountname is missing"),
        ("storage: {azure: {accountname: a}}", "storage.azure.container is missing"),
        (
            "storage: {azure: {accountname: a, container: c, credentials: {type: client_secret}}}",
            "storage.azure.credentials.type is not supported",
        ),
        (
            "storage: {gcs: {bucket: b, credentials: {type: service_account}}}",
            "storage.gcs.credentials is not supported",
        ),
        ("storage: {filesystem: 5}", "storage.filesystem is no mapping"),
        ("storage: [filesystem]", "storage is neither a mapping nor"),
        ("storage: {filesystem: , s3: }", "must provide exactly one storage type. Provided: [filesystem s3]"),
        ("storage: {cache: {blobdescriptor: inmemory}}", "no storage configuration provided"),
        ("log: {}", "no storage configuration provided"),
    ] {
        let what = fault(text, &[]);
        assert!(what.starts_with(said), "{text}: {what}");
    }
    assert_eq!(read("version: 0.2", &[]), Err("unsupported version: \"0.2\"".into()));
    assert_eq!(read("", &[]), Err("unsupported version: \"\"".into()));
    assert_eq!(read("version: '0.1'\nstorage: filesystem", &[]).unwrap().notes, Vec::<String>::new());
    assert!(read("a: [", &[]).is_err());
}

#[test]
fn what_nobody_knows_is_told_of_and_ignored() {
    let text =
        "version: 0.1\nstorage: {s3: {bucket: b, region: x, bukcet: c, encrypt: true, storageclass: STANDARD_IA}}";
    let notes = read(text, &[]).unwrap().notes;
    assert_eq!(notes, ["storage.s3.bukcet is not known, and ignored"]);
}

#[test]
fn how_the_store_keeps_what_is_written_is_understood() {
    let s3 = |more: &str| storage(&format!("storage: {{s3: {{bucket: b, region: x{more}}}}}"), &[]);
    let kept = |more: &str| (s3(more).encryption, s3(more).kms_key, s3(more).storage_class);
    assert_eq!(kept(""), (None, None, None));
    assert_eq!(kept(", encrypt: true"), (Some(Encryption::Aes256), None, None));
    assert_eq!(kept(", encrypt: true, keyid: k"), (Some(Encryption::Kms), Some("k".into()), None));
    assert_eq!(kept(", encrypt: false, keyid: k, storageclass: none"), (None, None, None));
    assert_eq!(kept(", storageclass: standard_ia").2.as_deref(), Some("STANDARD_IA"));
    let what = fault("storage: {s3: {bucket: b, region: x, storageclass: GLACIER}}", &[]);
    assert!(what.starts_with("storage.s3.storageclass is \"GLACIER\"; allowed: STANDARD,"), "{what}");
}

#[test]
fn variables_that_are_wrong_are_named_without_their_values() {
    for (name, value) in
        [("REGISTRY_STORAGE_S3_SECRETKEY", "[hush"), ("REGISTRY_STORAGE_S3", "hush"), ("REGISTRY_STORAGE", "[hush]")]
    {
        let what = fault("storage: {s3: {bucket: b, region: x}}", &[(name, value)]);
        assert!(what.contains(name) && !what.contains("hush"), "{what}");
    }
    // A service of Kubernetes that is called registry-storage breaks distribution too.
    let what = fault("storage: filesystem", &[("REGISTRY_STORAGE_SERVICE_HOST", "10.0.0.1")]);
    assert_eq!(what, "must provide exactly one storage type. Provided: [filesystem service]");
}

#[test]
fn anchors_are_followed_and_no_text_makes_it_panic() {
    let text = "common: &c {region: eu-west-1, bucket: b}\nstorage: {s3: {<<: *c, bucket: d}}";
    assert_eq!(storage(text, &[]).bucket, "d");
    for text in ["\u{0}", "a: *b", "&a [*a]", "? [x] : y", "!!binary x", "storage: !t {s3: }", "---\n---\n", "{[: }"] {
        let _ = read(text, &[("REGISTRY_STORAGE__X", "y"), ("REGISTRY_STORAGE_", "")]);
        let _ = read(&format!("version: 0.1\n{text}"), &[("REGISTRY_STORAGE__X", "y"), ("REGISTRY_STORAGE_", "")]);
    }
}
