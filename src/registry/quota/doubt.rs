//! Quotas that are to be counted again, said by who took links away without being a registry: whatever the configuration of those
//! that serve has of them.

use super::file::File;
use crate::storage::{Error, Storage, layout};

/// Times that a file is replaced by somebody else before it is given up.
const TRIES: u32 = 16;

/// Says of every quota of which there is a file that it has to be counted again; the instances that have it do that by and by. How
/// many that are. A file that cannot be read is counted again anyway.
///
/// # Errors
/// Storage's, or that a newer version wrote a file.
pub async fn doubt(storage: &Storage) -> Result<usize, Error> {
    let mut doubted = 0;
    for entry in storage.store().list(layout::QUOTAS).await?.files {
        let Some(file) = File::of_name(&entry.name) else { continue };
        doubted += usize::from(doubt_one(storage, &file).await?);
    }
    Ok(doubted)
}

async fn doubt_one(storage: &Storage, file: &File) -> Result<bool, Error> {
    for left in (0..TRIES).rev() {
        let found = file.read(storage).await?;
        let Some(mut state) = found.state else { return Ok(false) };
        if state.doubtful {
            return Ok(true);
        }
        state.doubtful = true;
        match file.write(storage, &state, &found.replaceable).await {
            Err(Error::Conflict) if left > 0 => {}
            outcome => return outcome.map(|_| true),
        }
    }
    Err(Error::Conflict)
}
