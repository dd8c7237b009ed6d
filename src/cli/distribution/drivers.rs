//! What distribution's drivers are here. What cannot be done as its operator wants it is an error that names the key; what makes no
//! difference to who collects (sizes of pieces, what clients are redirected to, classes of what is uploaded) is passed over.

use super::section::Section;
use crate::storage::Config;
use crate::storage::config::DriverKind;

/// Distribution's own default.
const ROOT: &str = "/var/lib/registry";
/// The realm of Azure's public cloud.
const AZURE: &str = "core.windows.net";

/// Our own keys by those that they were made of, for what is wrong with them.
const ORIGINS: [(&str, &[(&str, &str)]); 4] = [
    ("filesystem", &[("root", "rootdirectory")]),
    (
        "s3",
        &[
            ("prefix", "rootdirectory"),
            ("endpoint", "regionendpoint"),
            ("access_key_id", "accesskey"),
            ("secret_access_key", "secretkey"),
        ],
    ),
    (
        "azure",
        &[("bucket", "container"), ("prefix", "rootdirectory"), ("endpoint", "serviceurl"), ("account", "accountname")],
    ),
    ("gcs", &[("prefix", "rootdirectory")]),
];

pub(super) fn of(section: &mut Section<'_>) -> Result<Config, String> {
    let driver = section.driver;
    let (kind, config) = match driver {
        "filesystem" => ("filesystem", filesystem(section)?),
        "s3" | "s3aws" => ("s3", s3(section)?),
        "azure" => ("azure", azure(section)?),
        "gcs" => ("gcs", gcs(section)?),
        "inmemory" => {
            return Err(
                "storage.inmemory is the memory of the registry's own process: nothing is there to be collected".into(),
            );
        }
        other => {
            return Err(format!(
                "storage.{} is not supported here; supported: filesystem, s3, azure, gcs",
                other.escape_debug()
            ));
        }
    };
    let Some((key, what)) = config.check().into_iter().next() else { return Ok(config) };
    let origins = ORIGINS.iter().find(|(driver, _)| *driver == kind).map_or(&[][..], |(_, origins)| origins);
    let theirs = origins.iter().find(|(ours, _)| *ours == key).map_or(key, |(_, theirs)| theirs);
    Err(format!("{} {what}", section.path(theirs)))
}

fn filesystem(section: &mut Section<'_>) -> Result<Config, String> {
    let root = section.text("rootdirectory")?;
    section.pass_over(&["maxthreads"]);
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
    if section.flag("encrypt")? == Some(true) {
        section.note(
            "encrypt",
            "is true: what is written here (records of the collection) is encrypted as the bucket's defaults say",
        );
    }
    section.pass_over(&[
        "accelerate",
        "chunksize",
        "keyid",
        "loglevel",
        "multipartcopychunksize",
        "multipartcopymaxconcurrency",
        "multipartcopythresholdsize",
        "objectacl",
        "redirectendpoint",
        "storageclass",
        "useragent",
    ]);
    Ok(Config {
        driver: DriverKind::S3,
        bucket: section.needed("bucket")?,
        prefix: section.text("rootdirectory")?.unwrap_or_default(),
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
    section.pass_over(&["max_retries", "retry_delay"]);
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
    section.pass_over(&["chunksize", "maxconcurrency", "useragent"]);
    Ok(Config {
        driver: DriverKind::Gcs,
        bucket: section.needed("bucket")?,
        prefix: section.text("rootdirectory")?.unwrap_or_default(),
        service_account,
        ..Config::default()
    })
}
