//! What distribution's drivers are here. What cannot be done as its operator wants it is an error that names the key; what has no
//! counterpart (sizes of pieces, classes of what is uploaded) is left, with the reason.

use toml::Value;

use super::draft::{Draft, Given, Table, Weight};
use super::section::Section;
use crate::storage::Config;
use crate::storage::config::{DriverKind, Encryption};

/// Distribution's own default.
const ROOT: &str = "/var/lib/registry";
/// No class of storage is asked for.
const NO_CLASS: &str = "NONE";
/// The realm of Azure's public cloud.
const AZURE: &str = "core.windows.net";

/// Our own keys by those that they were made of, by driver.
static ORIGINS: [(&str, &[(&str, &str)]); 4] = [
    ("filesystem", &[("root", "rootdirectory")]),
    (
        "s3",
        &[
            ("bucket", "bucket"),
            ("prefix", "rootdirectory"),
            ("endpoint", "regionendpoint"),
            ("region", "region"),
            ("path_style", "forcepathstyle"),
            ("sign_payload", "secure"),
            ("encryption", "encrypt"),
            ("kms_key", "keyid"),
            ("storage_class", "storageclass"),
            ("access_key_id", "accesskey"),
            ("secret_access_key", "secretkey"),
        ],
    ),
    (
        "azure",
        &[
            ("bucket", "container"),
            ("prefix", "rootdirectory"),
            ("endpoint", "serviceurl"),
            ("account", "accountname"),
            ("account_key", "accountkey"),
        ],
    ),
    ("gcs", &[("bucket", "bucket"), ("prefix", "rootdirectory"), ("service_account", "keyfile")]),
];
const SIZES: &str = "is not needed: parts have the size that the upload needs";
/// Keys that have no counterpart, by driver.
const LEFT_OF_S3: [(&str, Weight, &str); 9] = [
    ("accelerate", Weight::Lost, "has no counterpart: requests go to the region's own address"),
    ("chunksize", Weight::Needless, SIZES),
    ("loglevel", Weight::Needless, "has no counterpart: what goes wrong with the store is in the log"),
    ("multipartcopychunksize", Weight::Needless, SIZES),
    (
        "multipartcopymaxconcurrency",
        Weight::Needless,
        "is not needed: a layer is put under its digest, and rarely copied",
    ),
    ("multipartcopythresholdsize", Weight::Needless, SIZES),
    ("objectacl", Weight::Lost, "has no counterpart: objects belong to the bucket's owner, as its policy says"),
    ("redirectendpoint", Weight::Lost, "has no counterpart: signed addresses are those of regionendpoint"),
    ("useragent", Weight::Needless, "has no counterpart"),
];
const LEFT_OF_GCS: [(&str, Weight, &str); 3] = [
    ("chunksize", Weight::Needless, SIZES),
    ("maxconcurrency", Weight::Needless, "is not needed: [storage] max_connections bounds requests"),
    ("useragent", Weight::Needless, "has no counterpart"),
];
const LEFT_OF_AZURE: [(&str, Weight, &str); 2] = [
    ("max_retries", Weight::Needless, "is not needed: see [storage] retries"),
    ("retry_delay", Weight::Needless, "is not needed: see [storage] timeouts"),
];

/// The driver as it is called here, and what it is.
pub(super) fn of(driver: &str, section: &mut Section<'_>) -> Result<(&'static str, Config), String> {
    let (kind, config) = match driver {
        "filesystem" => ("filesystem", filesystem(section)?),
        "s3" | "s3aws" => ("s3", s3(section)?),
        "azure" => ("azure", azure(section)?),
        "gcs" => ("gcs", gcs(section)?),
        "inmemory" => {
            return Err(
                "storage.inmemory is the memory of the registry's own process: nothing is there that another could \
                        read, and it is gone when that one ends"
                    .into(),
            );
        }
        other => {
            return Err(format!(
                "storage.{} is not supported here; supported: filesystem, s3, azure, gcs",
                other.escape_debug()
            ));
        }
    };
    let Some((key, what)) = config.check().into_iter().next() else { return Ok((kind, config)) };
    let theirs = origins(kind).iter().find(|(ours, _)| *ours == key).map_or(key, |(_, theirs)| theirs);
    Err(format!("{} {what}", section.path(theirs)))
}

fn origins(kind: &str) -> &'static [(&'static str, &'static str)] {
    ORIGINS.iter().find(|(driver, _)| *driver == kind).map_or(&[][..], |(_, origins)| origins)
}

/// Writes down what a driver is.
pub(super) fn settings(kind: &'static str, config: &Config, section: &Section<'_>, draft: &mut Draft) {
    draft.set(Table::Storage, "driver", kind, section.path("").trim_end_matches('.'));
    for (ours, theirs) in origins(kind) {
        let given = match *ours {
            "root" => Some(config.root.display().to_string().into()),
            "bucket" => Some(config.bucket.clone().into()),
            "prefix" => Some(config.prefix.clone()).filter(|prefix| !prefix.is_empty()).map(Value::from),
            "endpoint" => config.endpoint.clone().map(Value::from),
            "region" => config.region.clone().map(Value::from),
            "access_key_id" => config.access_key_id.clone().map(Value::from),
            "account" => config.account.clone().map(Value::from),
            "path_style" => config.path_style.map(Value::from),
            "sign_payload" => Some(true).filter(|_| config.sign_payload).map(Value::from),
            "encryption" => config.encryption.map(|kind| kind.word().into()),
            "kms_key" => config.kms_key.clone().map(Value::from),
            "storage_class" => config.storage_class.clone().map(Value::from),
            "service_account" => config.service_account.as_ref().map(|file| file.display().to_string().into()),
            _ => None,
        };
        let secret = match *ours {
            "secret_access_key" => config.secret_access_key.clone(),
            "account_key" => config.account_key.clone(),
            _ => None,
        };
        let given = given.map(Given::Plain).or(secret.map(Given::Secret));
        if let Some(given) = given {
            draft.given(Table::Storage, ours, given, section.path(theirs));
        }
    }
}

fn filesystem(section: &mut Section<'_>) -> Result<Config, String> {
    let root = section.text("rootdirectory")?;
    section.leave(&[("maxthreads", Weight::Needless, "is not needed: calls to the disk have bounds of their own")]);
    Ok(Config { driver: DriverKind::Filesystem, root: root.unwrap_or_else(|| ROOT.into()).into(), ..Config::default() })
}

fn s3(section: &mut Section<'_>) -> Result<Config, String> {
    let region = section.text("region")?;
    let secure = section.flag("secure")?.unwrap_or(true);
    let given = section.text("regionendpoint")?;
    // Version 2 forced it wherever there is such an address, and had no key for it.
    let path_style = section.flag("forcepathstyle")?.filter(|_| given.is_some());
    let amazon = amazon(section, region.as_deref(), secure)?;
    let custom = given.as_deref().map(|endpoint| addressed(endpoint, secure));
    never_unchecked(section)?;
    if section.flag("v4auth")? == Some(false) {
        if given.as_deref().is_none_or(|endpoint| endpoint.contains("s3.amazonaws.com")) {
            return Err(format!("{} is false: Amazon's S3 takes version 4 only", section.path("v4auth")));
        }
        section.note("v4auth", "is false, and requests are signed by version 4 all the same");
    }
    let encryption = match (section.flag("encrypt")?, section.text("keyid")?.is_some()) {
        (Some(true), false) => Some(Encryption::Aes256),
        (Some(true), true) => Some(Encryption::Kms),
        (_, true) => {
            section.note("keyid", "is ignored, since encrypt is not true");
            None
        }
        (_, false) => None,
    };
    section.leave(&LEFT_OF_S3);
    Ok(Config {
        driver: DriverKind::S3,
        bucket: section.needed("bucket")?,
        prefix: section.text("rootdirectory")?.unwrap_or_default(),
        encryption,
        kms_key: section.text("keyid")?.filter(|_| encryption == Some(Encryption::Kms)),
        storage_class: section
            .text("storageclass")?
            .map(|class| class.to_ascii_uppercase())
            .filter(|class| class != NO_CLASS),
        path_style: if amazon.is_some() && custom.is_none() { Some(false) } else { path_style },
        // AWS refuses unsigned bytes that come without TLS.
        sign_payload: given.is_none() && !secure,
        endpoint: custom.or(amazon),
        region,
        access_key_id: section.text("accesskey")?,
        secret_access_key: section.text("secretkey")?.map(Into::into),
        ..Config::default()
    })
}

/// Amazon's address where it is another than the usual one.
fn amazon(section: &mut Section<'_>, region: Option<&str>, secure: bool) -> Result<Option<String>, String> {
    let dual = section.flag("usedualstack")?.unwrap_or(false);
    let fips = section.flag("usefipsendpoint")?.unwrap_or(false);
    let given = section.has("regionendpoint");
    let Some(region) = region else {
        return if given { Ok(None) } else { Err(format!("{} is missing", section.path("region"))) };
    };
    let service = if fips { "s3-fips" } else { "s3" };
    let stack = if dual { ".dualstack" } else { "" };
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let scheme = if secure { "https" } else { "http" };
    let other = dual || fips || !secure;
    Ok(other.then(|| format!("{scheme}://{service}{stack}.{region}.{suffix}")))
}

/// Its own scheme counts, and else `secure`.
fn addressed(endpoint: &str, secure: bool) -> String {
    let bare = endpoint.trim_end_matches('/');
    match (bare.contains("://"), secure) {
        (true, _) => bare.to_owned(),
        (false, true) => format!("https://{bare}"),
        (false, false) => format!("http://{bare}"),
    }
}

/// Certificates are checked here in any case.
fn never_unchecked(section: &mut Section<'_>) -> Result<(), String> {
    match section.flag("skipverify")? {
        Some(true) => Err(format!(
            "{} is true, and certificates are always checked here: let SSL_CERT_FILE name a file with the authority that signed \
             the store's",
            section.path("skipverify")
        )),
        _ => Ok(()),
    }
}

fn azure(section: &mut Section<'_>) -> Result<Config, String> {
    let account = section.needed("accountname")?;
    let key = section.text("accountkey")?;
    let of = section.text_in("credentials", "type");
    match of {
        None | Some("shared_key" | "default_credentials") => {}
        Some(_) => {
            return Err(format!(
                "{} is not supported here: leave `credentials` out, and set AZURE_TENANT_ID, AZURE_CLIENT_ID and \
                 AZURE_CLIENT_SECRET",
                section.path("credentials.type")
            ));
        }
    }
    if section.has("connectionstring") {
        return Err(format!(
            "{} is not supported here: write accountname, accountkey and, for another address, serviceurl",
            section.path("connectionstring")
        ));
    }
    never_unchecked(section)?;
    let realm = section.text("realm")?.filter(|realm| realm != AZURE);
    let elsewhere = realm.map(|realm| format!("https://{account}.blob.{realm}"));
    let endpoint = section.text("serviceurl")?.map(|url| url.trim_end_matches('/').to_owned());
    section.leave(&LEFT_OF_AZURE);
    Ok(Config {
        driver: DriverKind::Azure,
        bucket: section.needed("container")?,
        prefix: section.text("rootdirectory")?.unwrap_or_default(),
        endpoint: endpoint.or(elsewhere),
        account: Some(account),
        account_key: if of == Some("default_credentials") { None } else { key.map(Into::into) },
        ..Config::default()
    })
}

fn gcs(section: &mut Section<'_>) -> Result<Config, String> {
    let service_account = section.text("keyfile")?.map(Into::into);
    // With a file, distribution does not look at it either.
    if section.has("credentials") && service_account.is_none() {
        return Err(format!(
            "{} is not supported here: write the credentials into a file of JSON, and name it as keyfile",
            section.path("credentials")
        ));
    }
    section.leave(&LEFT_OF_GCS);
    Ok(Config {
        driver: DriverKind::Gcs,
        bucket: section.needed("bucket")?,
        prefix: section.text("rootdirectory")?.unwrap_or_default(),
        service_account,
        ..Config::default()
    })
}
