//! The secret of this machine's memory, and the hashes made with it: fingerprints of credentials and keys of facts.
//! Whoever has the files but not the secret cannot tell which credentials or repositories they speak of; whoever
//! chooses names cannot make two facts meet.

use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::credential::Credential;
use super::jwt;

/// The secret's file in the folder of the cache.
const FILE: &str = "memory.key";
const LENGTH: usize = 32;

/// A longer `Authorization` is never looked into, and nothing is remembered for it.
const MAX_AUTHORIZATION: usize = 16 << 10;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct KeyError {
    path: PathBuf,
    source: io::Error,
}

/// The name of a fact: a keyed hash of all that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub(super) [u8; 16]);

/// Which registry is meant: a cluster, and the host it was asked as, if its peers see that host. `Copy`, since it is
/// made for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Jurisdiction {
    /// Of cluster and host.
    id: Id,
    /// Of the cluster alone: what is deleted under one host is gone under all.
    cluster: Id,
}

/// What facts can be about; keeps their ids apart.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Cluster = 1,
    Jurisdiction,
    Read,
    Hold,
    Tag,
    Ping,
    Repository,
    TagMark,
}

#[derive(Clone)]
pub struct Keys {
    credential: Hmac<Sha256>,
    fact: SipHasher24,
    check: String,
}

impl Keys {
    /// Reads the secret from `folder`, or makes a new one there, readable by its owner only.
    pub fn open(folder: &Path) -> Result<Self, KeyError> {
        let path = folder.join(FILE);
        read_or_create(&path).map(|secret| Keys::new(&secret)).map_err(|source| KeyError { path, source })
    }

    #[cfg(test)]
    /// Keys that end with the process.
    pub fn random() -> Self {
        Keys::new(&rand::random())
    }

    fn new(secret: &[u8; LENGTH]) -> Self {
        let derive = |purpose: &[u8]| keyed(secret).chain_update(purpose).finalize().into_bytes();
        let mut fact = [0; 16];
        fact.iter_mut().zip(derive(b"entrepot facts 1")).for_each(|(to, from)| *to = from);
        Keys {
            credential: keyed(&derive(b"entrepot credentials 1").into()),
            fact: SipHasher24::new_with_key(&fact),
            check: hex::encode(derive(b"entrepot journal 1")),
        }
    }

    /// Tells journals written under another secret; no secret itself.
    pub fn check(&self) -> &str {
        &self.check
    }

    pub fn credential(&self, authorization: Option<&[u8]>) -> Credential {
        let Some(authorization) = authorization else { return Credential::ANONYMOUS };
        let fingerprint = self.fingerprint(&[authorization]);
        let expires = if authorization.len() > MAX_AUTHORIZATION { Some(0) } else { jwt::expiry(authorization) };
        Credential { fingerprint, expires, anonymous: false }
    }

    /// The same, from one of these addresses only.
    pub fn credential_at(&self, authorization: Option<&[u8]>, from: &[IpAddr]) -> Credential {
        let who = self.credential(authorization);
        // No field's value holds a NUL, so that no `Authorization` reads like one with addresses.
        let named: &[u8] = if who.anonymous { b"\0\0" } else { b"\0\x01" };
        let from: Vec<u8> = from.iter().flat_map(|address| as_v6(*address).octets()).collect();
        Credential { fingerprint: self.fingerprint(&[authorization.unwrap_or_default(), named, &from]), ..who }
    }

    fn fingerprint(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mac = parts.iter().fold(self.credential.clone(), |mac, part| mac.chain_update(part));
        let mut fingerprint = [0; 16];
        fingerprint.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(to, from)| *to = from);
        fingerprint
    }

    pub fn jurisdiction(&self, cluster: &str, host: Option<&str>) -> Jurisdiction {
        let cluster = self.id(Kind::Cluster, &[cluster.as_bytes()]);
        let id = match host {
            Some(host) => self.id(Kind::Jurisdiction, &[&cluster.0, host.as_bytes()]),
            None => self.id(Kind::Jurisdiction, &[&cluster.0]),
        };
        Jurisdiction { id, cluster }
    }

    pub fn read(&self, jurisdiction: &Jurisdiction, credential: &Credential, repository: &str) -> Id {
        self.id(Kind::Read, &[&jurisdiction.id.0, &credential.fingerprint, repository.as_bytes()])
    }

    pub fn hold(&self, jurisdiction: &Jurisdiction, repository: &str, hash: &[u8]) -> Id {
        self.id(Kind::Hold, &[&jurisdiction.id.0, repository.as_bytes(), hash])
    }

    pub fn tag(&self, jurisdiction: &Jurisdiction, repository: &str, tag: &str, accept: &[u8; 16]) -> Id {
        self.id(Kind::Tag, &[&jurisdiction.id.0, repository.as_bytes(), tag.as_bytes(), accept])
    }

    pub fn ping(&self, jurisdiction: &Jurisdiction, credential: &Credential) -> Id {
        self.id(Kind::Ping, &[&jurisdiction.id.0, &credential.fingerprint])
    }

    /// Names a repository under every host of its cluster.
    pub fn repository(&self, jurisdiction: &Jurisdiction, repository: &str) -> Id {
        self.id(Kind::Repository, &[&jurisdiction.cluster.0, repository.as_bytes()])
    }

    /// Names a tag under every host of its cluster, whatever it was asked with.
    pub fn tag_mark(&self, jurisdiction: &Jurisdiction, repository: &str, tag: &str) -> Id {
        self.id(Kind::TagMark, &[&jurisdiction.cluster.0, repository.as_bytes(), tag.as_bytes()])
    }

    /// Each part goes in with its length, so that no two lists of parts read alike.
    fn id(&self, kind: Kind, parts: &[&[u8]]) -> Id {
        let mut hasher = self.fact;
        hasher.write_u8(kind as u8);
        for part in parts {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        Id(hasher.finish128().as_bytes())
    }
}

impl Hash for Id {
    /// An id is a hash already; a part of it will do.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl Id {
    /// Bits that `Hash` does not use, to choose a shard or a slot by.
    pub fn spread(&self) -> u16 {
        let [.., y, z] = self.0;
        u16::from_le_bytes([y, z])
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn keyed(secret: &[u8; LENGTH]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block.iter_mut().zip(secret).for_each(|(to, from)| *to = *from);
    Hmac::new(&block.into())
}

fn read_or_create(path: &Path) -> io::Result<[u8; LENGTH]> {
    match read(path) {
        Ok(Some(secret)) => return Ok(secret),
        Ok(None) => {
            tracing::warn!(path = %path.display(), "the memory's key is damaged; a new one is made, and what was remembered is lost")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let secret: [u8; LENGTH] = rand::random();
    let new = path.with_extension("key.new");
    let _ = fs::remove_file(&new); // left by a crash; create_new below says what is really wrong
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&secret)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    Ok(secret)
}

/// `None` if the file holds no secret of the right length.
fn read(path: &Path) -> io::Result<Option<[u8; LENGTH]>> {
    let file = File::open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "the memory's key was open to others; it is closed to them now");
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    let mut secret = Vec::with_capacity(LENGTH + 1);
    file.take(LENGTH as u64 + 1).read_to_end(&mut secret)?;
    Ok(secret.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let first = Keys::open(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let second = Keys::open(folder.path()).unwrap();
        assert_eq!(first.check(), second.check());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(first.credential(Some(b"Basic x")), second.credential(Some(b"Basic x")));
    }

    #[test]
    fn a_damaged_secret_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), b"short").unwrap();
        let keys = Keys::open(folder.path()).unwrap();
        assert_eq!(keys.check(), Keys::open(folder.path()).unwrap().check());
        assert_ne!(keys.check(), Keys::random().check());
    }

    #[test]
    fn credentials_are_told_apart_and_never_shown() {
        let keys = Keys::random();
        let one = keys.credential(Some(b"Basic c2VjcmV0"));
        assert_eq!(one, keys.credential(Some(b"Basic c2VjcmV0")));
        assert_ne!(one, keys.credential(Some(b"Basic c2VjcmV1")));
        assert_ne!(one, Credential::ANONYMOUS);
        assert_ne!(one.fingerprint, Keys::random().credential(Some(b"Basic c2VjcmV0")).fingerprint);
        assert!(keys.credential(None).is_anonymous() && !keys.credential(Some(b"")).is_anonymous());
        assert_eq!(format!("{one:?}").len(), 8);
        assert!(keys.credential(Some(&[b'x'; MAX_AUTHORIZATION + 1])).is_expired());
    }

    #[test]
    fn a_credential_is_another_at_another_address() {
        let keys = Keys::random();
        let at = |authorization: Option<&[u8]>, from: &[&str]| {
            keys.credential_at(authorization, &from.iter().map(|from| from.parse().unwrap()).collect::<Vec<_>>())
        };
        let (ann, bob) = (Some(b"Basic ann".as_slice()), Some(b"Basic bob".as_slice()));
        assert_eq!(at(ann, &["127.0.0.2"]), at(ann, &["::ffff:127.0.0.2"]));
        let all = [
            at(ann, &["127.0.0.2"]),
            at(ann, &["127.0.0.3"]),
            at(ann, &["127.0.0.2", "10.0.0.1"]),
            at(bob, &["127.0.0.2"]),
            at(None, &["127.0.0.2"]),
            at(None, &["127.0.0.3"]),
            at(Some(b""), &["127.0.0.2"]),
            keys.credential(ann),
            keys.credential(None),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all.iter().skip(index + 1).all(|other| one.fingerprint != other.fingerprint), "{index}");
        }
        assert!(at(None, &["127.0.0.2"]).is_anonymous() && !at(Some(b""), &["127.0.0.2"]).is_anonymous());
        assert!(at(Some(&[b'x'; MAX_AUTHORIZATION + 1]), &["127.0.0.2"]).is_expired());
    }

    #[test]
    fn facts_about_different_things_have_different_ids() {
        let keys = Keys::random();
        let jurisdiction = keys.jurisdiction("main", None);
        assert_ne!(keys.hold(&jurisdiction, "ab", b"c"), keys.hold(&jurisdiction, "a", b"bc"));
        assert_ne!(jurisdiction, keys.jurisdiction("main", Some("")));
        assert_ne!(keys.jurisdiction("a", Some("b")), keys.jurisdiction("ab", None));
        let (one, other) = (keys.jurisdiction("main", Some("a")), keys.jurisdiction("main", Some("b")));
        assert_ne!(keys.hold(&one, "r", b"x"), keys.hold(&other, "r", b"x"));
        assert_eq!(keys.repository(&one, "r"), keys.repository(&other, "r"));
        assert_ne!(keys.repository(&one, "r"), keys.repository(&keys.jurisdiction("edge", Some("a")), "r"));
    }
}
