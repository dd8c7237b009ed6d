//! The fleet's secret, read at the start and at each reload.

use super::Failure;
use crate::config::Config;
use crate::fleet::secret::{Keyring, load};

/// The secret that `config` names, or none where it names none. Makes the file where this is the only instance.
pub async fn read(config: &Config) -> Result<Option<Keyring>, Failure> {
    let Some(file) = config.fleet.secret_file.clone() else { return Ok(None) };
    let alone = config.is_alone();
    let keyring = tokio::task::spawn_blocking(move || load(&file, alone)).await?;
    let keyring = keyring.map_err(|error| format!("fleet.secret_file: {error}"))?;
    tracing::info!(name = keyring.name(), secrets = keyring.count(), "the fleet's secret was read");
    Ok(Some(keyring))
}
