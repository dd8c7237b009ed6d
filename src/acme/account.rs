//! Our account with an authority: had, or made, and then kept for all instances.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use instant_acme::{Account, ExternalAccountKey, NewAccount};
use sha2::{Digest as _, Sha256};

use super::client::Client;
use super::config::{Config, Eab, MAX_HMAC};
use super::failure::{Cause, Failure};
use super::kept;
use super::shelf::{Item, Over, Shelf, ShelfError};

/// By which it is kept: of an authority there is one, or one for each account elsewhere that it belongs to.
fn id(directory: &str, eab: Option<&Eab>) -> String {
    let mut hash = Sha256::new();
    for text in [directory, eab.map_or("", |eab| eab.kid.as_str())] {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    let host = directory.split('/').nth(2).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    let host: String = host.chars().map(plain).take(80).collect();
    let digest = hex::encode(hash.finalize());
    format!("{host}--{}", digest.get(..16).unwrap_or(&digest))
}

/// The account with the authority of this directory.
pub async fn account(shelf: &dyn Shelf, client: &Client, directory: &str, config: &Config) -> Result<Account, Failure> {
    let id = id(directory, config.eab.as_ref());
    let item = Item::Account(&id);
    if let Some((kept, version)) = kept::read::<kept::Account>(shelf, item).await? {
        let email = kept.email.clone();
        let bytes = serde_json::to_vec(&kept.credentials).map_err(|error| Failure::ours(error.to_string()))?;
        let account = Account::builder_with_http(Box::new(client.clone())).from_credentials(kept.credentials).await?;
        if email == config.email {
            return Ok(account);
        }
        match tell_contacts(&account, config).await {
            Ok(()) => {
                let credentials = serde_json::from_slice(&bytes).map_err(|error| Failure::ours(error.to_string()))?;
                let told = kept::Account { directory: directory.to_owned(), email: config.email.clone(), credentials };
                match kept::write(shelf, item, &told, Over::Version(&version)).await {
                    Ok(_) | Err(ShelfError::Conflict) => return Ok(account),
                    Err(error) => return Err(error.into()),
                }
            }
            // Below, another one is made.
            Err(failure) if failure.cause == Cause::NoAccount => forget(shelf, directory, config, account.id()).await,
            Err(failure) => {
                tracing::warn!(
                    directory,
                    "the authority does not take acme.email, and goes on with what it has: {failure}"
                );
                return Ok(account);
            }
        }
    }
    create(shelf, client, directory, config, item).await
}

async fn tell_contacts(account: &Account, config: &Config) -> Result<(), Failure> {
    let contacts = contacts(config);
    let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
    Ok(account.update_contacts(&contacts).await?)
}

/// Reads those that are kept, if any are. Where they are sealed, whoever does that seals them with the secret that there is now.
pub async fn look(shelf: &dyn Shelf, directory: &str, config: &Config) -> Result<(), ShelfError> {
    shelf.get(Item::Account(&id(directory, config.eab.as_ref()))).await.map(drop)
}

async fn create(
    shelf: &dyn Shelf,
    client: &Client,
    directory: &str,
    config: &Config,
    item: Item<'_>,
) -> Result<Account, Failure> {
    let contacts = contacts(config);
    let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
    let external = match &config.eab {
        Some(eab) => {
            let file = eab.hmac_file.clone();
            let read = tokio::task::spawn_blocking(move || hmac(&file)).await;
            let key = read.map_err(|error| Failure::ours(error.to_string()))?;
            let key = key.map_err(|what| Failure::ours(format!("acme.eab.hmac_file: {what}")))?;
            Some(ExternalAccountKey::new(eab.kid.clone(), &key))
        }
        None => None,
    };
    let builder = Account::builder_with_http(Box::new(client.clone()));
    let (account, credentials) = builder.create(&new, directory.to_owned(), external.as_ref()).await?;
    tracing::info!(directory, account = account.id(), "an account with an authority was made");
    let made = kept::Account { directory: directory.to_owned(), email: config.email.clone(), credentials };
    match kept::write(shelf, item, &made, Over::Nothing).await {
        Ok(_) => Ok(account),
        // Another instance was first: one account is enough.
        Err(ShelfError::Conflict) => match kept::read::<kept::Account>(shelf, item).await? {
            Some((kept, _)) => {
                Ok(Account::builder_with_http(Box::new(client.clone())).from_credentials(kept.credentials).await?)
            }
            None => Err(Failure::new(Cause::Ours, "the account was taken away while it was made")),
        },
        Err(error) => Err(error.into()),
    }
}

/// The authority does not know the one with this address (`known`) any more: the next one is made anew, unless another instance has
/// made one already.
pub async fn forget(shelf: &dyn Shelf, directory: &str, config: &Config, known: &str) {
    let id = id(directory, config.eab.as_ref());
    match kept::read::<kept::Account>(shelf, Item::Account(&id)).await {
        Ok(Some((kept, _))) if is_of(&kept, known) => {}
        Ok(_) => return,
        Err(error) => return tracing::warn!(%error, "the account cannot be read"),
    }
    tracing::warn!(directory, "the authority does not know our account any more: another one is made");
    if let Err(error) = shelf.remove(Item::Account(&id)).await {
        tracing::warn!(%error, "the account cannot be taken away");
    }
}

fn is_of(kept: &kept::Account, known: &str) -> bool {
    serde_json::to_value(&kept.credentials).is_ok_and(|credentials| credentials["id"] == known)
}

fn contacts(config: &Config) -> Vec<String> {
    config.email.iter().map(|email| format!("mailto:{email}")).collect()
}

/// The key of an external account: a file with base64 in it, as authorities hand it out. Blocks on the disk; tells nothing of what is
/// in the file.
pub fn hmac(path: &Path) -> Result<Vec<u8>, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_HMAC + 1).read_to_string(&mut text));
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if text.len() as u64 > MAX_HMAC {
        return Err(format!("{} is larger than {MAX_HMAC} bytes", path.display()));
    }
    let text = text.trim();
    let decoded = [URL_SAFE_NO_PAD, URL_SAFE, STANDARD, STANDARD_NO_PAD].iter().find_map(|form| form.decode(text).ok());
    match decoded.filter(|key| !key.is_empty()) {
        Some(key) => Ok(key),
        None => Err(format!("{} holds no key in base64", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Drawer;
    use super::*;

    #[test]
    fn a_key_is_read_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hmac");
        for text in ["-_8", "-_8=", "+/8=", "+/8\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(hmac(&path).unwrap(), [0xfb, 0xff], "{text}");
        }
        for text in ["", "no base64!", &"A".repeat(5000)] {
            std::fs::write(&path, text).unwrap();
            let told = hmac(&path).unwrap_err();
            assert!(text.is_empty() || !told.contains(text), "{told}");
        }
        assert!(hmac(&folder.path().join("absent")).unwrap_err().contains("cannot read"));
    }

    #[tokio::test]
    async fn only_the_account_that_is_not_known_is_forgotten() {
        const DIRECTORY: &str = "https://ca.example/dir";
        let (shelf, config) = (Drawer::default(), Config::default());
        let key = rcgen::KeyPair::generate().unwrap();
        let credentials = serde_json::json!({
            "id": "https://ca.example/acct/1",
            "key_pkcs8": URL_SAFE_NO_PAD.encode(key.serialize_der()),
            "directory": DIRECTORY,
        });
        let credentials = serde_json::from_value(credentials).unwrap();
        let account = kept::Account { directory: DIRECTORY.into(), email: None, credentials };
        let id = id(DIRECTORY, None);
        kept::write(&shelf, Item::Account(&id), &account, Over::Nothing).await.unwrap();
        forget(&shelf, DIRECTORY, &config, "https://ca.example/acct/2").await;
        assert!(shelf.get(Item::Account(&id)).await.unwrap().is_some());
        forget(&shelf, DIRECTORY, &config, "https://ca.example/acct/1").await;
        assert!(shelf.get(Item::Account(&id)).await.unwrap().is_none());
    }

    #[test]
    fn each_authority_has_an_account_of_its_own() {
        let eab = |kid: &str| Eab { kid: kid.into(), hmac_file: "x".into() };
        let ids = [
            id("https://ca.example:14000/dir", None),
            id("https://ca.example:14000/other", None),
            id("https://ca.example:14000/dir", Some(&eab("a"))),
            id("https://ca.example:14000/dir", Some(&eab("b"))),
        ];
        assert!(ids.iter().all(|id| id.starts_with("ca.example_14000--")), "{ids:?}");
        let different: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(different.len(), 4);
    }
}
