//! Configured stores.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::http::Client;
use super::s3::Copier;
use super::{Remote, store_error};
use crate::storage::config::{Config, DriverKind};
use crate::storage::{Error, driver};

/// What distribution writes with every object.
const CONTENT_TYPE: &str = "application/octet-stream";

pub(super) fn remote(config: &Config) -> Result<Remote, Error> {
    match config.driver {
        DriverKind::S3 => s3(config),
        DriverKind::Gcs => gcs(config),
        DriverKind::Azure => azure(config),
        DriverKind::Memory => {
            let store = Arc::new(InMemory::new());
            let (reads, writes) = (Arc::clone(&store), Arc::clone(&store));
            Ok(Stores { reads, writes, bulk: store, signer: None, copier: None }.over(config))
        }
        DriverKind::Filesystem => Err(driver::wrong_kind()),
    }
}

fn s3(config: &Config) -> Result<Remote, Error> {
    let client = Client::new(config)?;
    let mut builder = match (&config.access_key_id, &config.secret_access_key) {
        (Some(id), Some(secret)) => {
            AmazonS3Builder::new().with_access_key_id(id).with_secret_access_key(secret.reveal())
        }
        _ => AmazonS3Builder::from_env(),
    };
    if let Some(region) = &config.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &config.endpoint {
        let in_path = config.path_style.unwrap_or(true);
        let endpoint = if in_path { endpoint.clone() } else { with_bucket(endpoint, &config.bucket)? };
        builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(!in_path);
    } else {
        builder = builder.with_virtual_hosted_style_request(!config.path_style.unwrap_or(false));
    }
    // The library tells the names of these two to nobody but by their text.
    let kept = [
        ("aws_server_side_encryption", config.encryption.map(|kind| kind.word())),
        ("aws_sse_kms_key_id", config.kms_key.as_deref()),
    ];
    for (key, value) in kept {
        if let Some(value) = value {
            builder = builder.with_config(key.parse().map_err(store_error)?, value);
        }
    }
    builder = builder
        .with_bucket_name(&config.bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // DeleteObjects is not everywhere (GCS' S3 interface), and we remove few objects at once.
        .with_disable_bulk_delete(true)
        .with_client_options(options())
        .with_retry(retry(config))
        .with_http_connector(client.clone());
    let reads = Arc::new(builder.clone().build().map_err(store_error)?);
    let builder = builder.with_credentials(Arc::clone(reads.credentials())).with_retry(once());
    let writes = Arc::new(builder.clone().build().map_err(store_error)?);
    let bulk = Arc::new(builder.with_unsigned_payload(!config.sign_payload).build().map_err(store_error)?);
    let copier = Some(Copier::new(Arc::clone(&reads), client, config));
    Ok(Stores { signer: Some(Arc::clone(&reads) as _), reads, writes, bulk, copier }.over(config))
}

fn gcs(config: &Config) -> Result<Remote, Error> {
    let mut builder = match &config.service_account {
        Some(file) => GoogleCloudStorageBuilder::new().with_service_account_path(file.to_string_lossy()),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    let builder = builder
        .with_bucket_name(&config.bucket)
        .with_client_options(options())
        .with_retry(retry(config))
        .with_http_connector(Client::new(config)?);
    let reads = Arc::new(builder.clone().build().map_err(store_error)?);
    let builder = builder.with_credentials(Arc::clone(reads.credentials())).with_retry(once());
    let writes = Arc::new(builder.build().map_err(store_error)?);
    let (bulk, signer) = (Arc::clone(&writes), Some(Arc::clone(&reads) as _));
    Ok(Stores { reads, writes, bulk, signer, copier: None }.over(config))
}

fn azure(config: &Config) -> Result<Remote, Error> {
    let mut builder = match &config.account_key {
        Some(key) => MicrosoftAzureBuilder::new().with_access_key(key.reveal()),
        None => MicrosoftAzureBuilder::from_env(),
    };
    if let Some(account) = &config.account {
        builder = builder.with_account(account);
    }
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.clone()).with_allow_http(endpoint.starts_with("http://"));
    }
    let builder = builder
        .with_container_name(&config.bucket)
        .with_client_options(options())
        .with_retry(retry(config))
        .with_http_connector(Client::new(config)?);
    let reads = Arc::new(builder.clone().build().map_err(store_error)?);
    let builder = builder.with_credentials(Arc::clone(reads.credentials())).with_retry(once());
    let writes = Arc::new(builder.build().map_err(store_error)?);
    let (bulk, signer) = (Arc::clone(&writes), Some(Arc::clone(&reads) as _));
    Ok(Stores { reads, writes, bulk, signer, copier: None }.over(config))
}

/// Every way to one bucket. None has a default, and those that bytes go through have one type: a driver that leaves one out,
/// or leads it elsewhere (once, a layer pushed to Azure went into memory), does not compile.
struct Stores<S> {
    /// The library tries again.
    reads: Arc<S>,
    /// It does not.
    writes: Arc<S>,
    /// As `writes`, or spared the work that [`Remote::bulk`] is spared.
    bulk: Arc<S>,
    signer: Option<Arc<dyn Signer>>,
    copier: Option<Copier>,
}

impl<S: ObjectStore + MultipartStore> Stores<S> {
    fn over(self, config: &Config) -> Remote {
        let prefix = config.prefix.trim_matches('/');
        let bare = prefix.is_empty() || config.driver == DriverKind::Memory;
        Remote {
            kind: config.driver,
            reads: self.reads,
            writes: self.writes,
            bulk: Arc::clone(&self.bulk) as _,
            parts: self.bulk,
            signer: self.signer,
            copier: self.copier,
            prefix: if bare { String::new() } else { format!("{prefix}/") },
            class: config.storage_class.clone(),
            limit: config.timeouts.request.0,
            retries: config.retries,
            bucket_missing: AtomicBool::new(false),
        }
    }
}

fn options() -> ClientOptions {
    ClientOptions::new().with_default_content_type(CONTENT_TYPE)
}

/// Ends before the call's own limit does, so that the store's last words are known and not only that it took too long.
fn retry(config: &Config) -> RetryConfig {
    let limit = config.timeouts.request.0;
    RetryConfig {
        backoff: BackoffConfig { init_backoff: Duration::from_millis(50), max_backoff: limit / 8, base: 2. },
        max_retries: usize::try_from(config.retries).unwrap_or(usize::MAX),
        retry_timeout: limit / 2,
    }
}

/// Tries of what changes something are counted elsewhere (`tries`).
fn once() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// `https://host` → `https://bucket.host`
fn with_bucket(endpoint: &str, bucket: &str) -> Result<String, Error> {
    let (scheme, rest) = endpoint.split_once("://").ok_or_else(driver::wrong_kind)?;
    Ok(format!("{scheme}://{bucket}.{}", rest.trim_end_matches('/')))
}
