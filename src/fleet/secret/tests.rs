//! What is derived, sealed and proven, and where the secret comes from.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hkdf::Hkdf;
use proptest::prelude::*;
use sha2::Sha256;

use super::proof::{MAX_AGE, ProofError};
use super::seal::{MAX_PLAIN, OpenError, SealError};
use super::*;

fn ring(secrets: &[u8]) -> Keyring {
    let material: Vec<Vec<u8>> = secrets.iter().map(|byte| vec![*byte; 32]).collect();
    let (current, former) = material.split_first().unwrap();
    Keyring::new(current, former)
}

/// The message of `load`'s error for a file with this text.
fn refused(text: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, text).unwrap();
    let told = inspect(&path, true).unwrap_err().to_string();
    assert_eq!(load(&path, true).err().unwrap().to_string(), told);
    assert!(told.starts_with(path.to_str().unwrap()), "{told}");
    told
}

#[test]
fn the_crate_derives_as_rfc_5869_has_it() {
    // Appendix A.1, A.2 is of the same kind with longer parts; A.3 has neither salt nor info.
    let salt: Vec<u8> = (0..=0x0c).collect();
    let info: Vec<u8> = (0xf0..=0xf9).collect();
    let mut okm = [0; 42];
    Hkdf::<Sha256>::new(Some(&salt), &[0x0b; 22]).expand(&info, &mut okm).unwrap();
    assert_eq!(
        hex::encode(okm),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    );
    Hkdf::<Sha256>::new(None, &[0x0b; 22]).expand(&[], &mut okm).unwrap();
    assert_eq!(
        hex::encode(okm),
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    );
}

/// What an older version sealed and derived must be opened by every later one: these never change.
#[test]
fn derivations_stay_what_they_were() {
    let ring = ring(&[7]);
    let derived = |purpose: Use<'_>| hex::encode(ring.current.derive::<8>(purpose).unwrap());
    let by_hand = |info: &[u8]| {
        let mut key = [0; 8];
        Hkdf::<Sha256>::new(Some(b"entrepot fleet 1"), &[7; 32]).expand(info, &mut key).unwrap();
        hex::encode(key)
    };
    assert_eq!(derived(Use::Name), by_hand(b"name\0"));
    assert_eq!(derived(Use::Seal("token")), by_hand(b"seal\0token"));
    assert_eq!(derived(Use::SealName("token")), by_hand(b"seal name\0token"));
    assert_eq!(derived(Use::Prove("token")), by_hand(b"prove\0token"));
    assert_eq!(ring.name(), by_hand(b"name\0")[..8]);
}

#[test]
fn each_use_and_label_has_a_key_of_its_own() {
    let (one, other) = (ring(&[1]), ring(&[2]));
    let mut keys = Vec::new();
    for ring in [&one, &other] {
        for purpose in [Use::Name, Use::Seal("a"), Use::Seal("b"), Use::SealName("a"), Use::Prove("a"), Use::Seal("")] {
            keys.push(ring.current.derive::<32>(purpose).unwrap());
        }
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);

    let sealed = one.seal("a", b"plain", b"").unwrap();
    assert_eq!(one.open("a", &sealed, b"").unwrap(), b"plain");
    assert_eq!(one.open("b", &sealed, b""), Err(OpenError::AnotherSecret));
    assert_eq!(other.open("a", &sealed, b""), Err(OpenError::AnotherSecret));
    assert_eq!(one.open("a", &sealed, b"elsewhere"), Err(OpenError::Altered));
    assert_ne!(one.seal("a", b"plain", b"").unwrap(), sealed, "each seal has its own nonce");
}

#[test]
fn no_byte_of_what_is_sealed_can_be_changed_or_taken_away() {
    let ring = ring(&[1]);
    let sealed = ring.seal("a", b"some text", b"here").unwrap();
    assert!(!sealed.windows(4).any(|window| window == b"text"));
    for index in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[index] ^= 1 << bit;
            let expected = match index {
                0 if changed[0] > 1 => OpenError::Newer(changed[0]),
                1..5 => OpenError::AnotherSecret,
                _ => OpenError::Altered,
            };
            assert_eq!(ring.open("a", &changed, b"here"), Err(expected), "byte {index} bit {bit}");
        }
        let expected = if index < 1 + 4 + 12 + 16 { OpenError::Truncated } else { OpenError::Altered };
        assert_eq!(ring.open("a", &sealed[..index], b"here"), Err(expected), "{index} bytes");
    }
    let longer = [sealed.as_slice(), b"x"].concat();
    assert_eq!(ring.open("a", &longer, b"here"), Err(OpenError::Altered));
    assert_eq!(ring.seal("a", &vec![0; MAX_PLAIN + 1], b""), Err(SealError::TooLong));
    let most = ring.seal("a", &vec![0; MAX_PLAIN], b"").unwrap();
    assert_eq!(ring.open("a", &most, b"").unwrap().len(), MAX_PLAIN);
    assert_eq!(ring.open("a", &[most.as_slice(), b"x"].concat(), b""), Err(OpenError::TooLong));
}

proptest! {
    #[test]
    fn nothing_from_outside_makes_opening_or_verifying_panic(bytes: Vec<u8>, text: String) {
        let ring = ring(&[1]);
        prop_assert!(ring.open("a", &bytes, b"").is_err());
        prop_assert!(ring.open("a", &[&[1][..], &bytes].concat(), b"").is_err());
        prop_assert!(ring.verify("a", b"", &text).is_err());
        for beginning in ["1.", "1.2."] {
            let proof = [beginning, &text].concat();
            prop_assert!(ring.verify("a", b"", &proof).is_err());
        }
    }
}

#[test]
fn a_proof_is_for_one_purpose_and_message_and_for_a_minute() {
    let (one, other) = (ring(&[1]), ring(&[2]));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let proof = one.prove_at("hello", b"message", now).unwrap();
    assert!(proof.starts_with("1.1800000000."), "{proof}");
    let verify = |ring: &Keyring, purpose: &str, message: &[u8], proof: &str, at: SystemTime| {
        ring.verify_at(purpose, message, proof, at)
    };
    assert_eq!(verify(&one, "hello", b"message", &proof, now), Ok(()));
    assert_eq!(verify(&one, "hello", b"message", &proof, now + MAX_AGE), Ok(()));
    assert_eq!(verify(&one, "hello", b"message", &proof, now - MAX_AGE), Ok(()));
    let second = Duration::from_secs(1);
    assert_eq!(verify(&one, "hello", b"message", &proof, now + MAX_AGE + second), Err(ProofError::Stale));
    assert_eq!(verify(&one, "hello", b"message", &proof, now - MAX_AGE - second), Err(ProofError::Stale));
    assert_eq!(verify(&one, "other", b"message", &proof, now), Err(ProofError::Wrong));
    assert_eq!(verify(&one, "hello", b"messages", &proof, now), Err(ProofError::Wrong));
    assert_eq!(verify(&other, "hello", b"message", &proof, now), Err(ProofError::Wrong));
    let renewed = proof.replace("1.1800000000.", "1.1800000061.");
    assert_eq!(verify(&one, "hello", b"message", &renewed, now + MAX_AGE + second), Err(ProofError::Wrong));
    for (index, _) in proof.char_indices().skip("1.1800000000.".len()) {
        let mut changed = proof.clone().into_bytes();
        changed[index] = if changed[index] == b'0' { b'1' } else { b'0' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(verify(&one, "hello", b"message", &changed, now), Err(ProofError::Wrong), "{index}");
    }
    for malformed in ["", "1", "1.", "1.x.00", "1.18.00", "1..", &proof[..proof.len() - 2], &format!("{proof}00")] {
        assert_eq!(verify(&one, "hello", b"message", malformed, now), Err(ProofError::Malformed), "{malformed}");
    }
    assert_eq!(verify(&one, "hello", b"message", &proof.replacen('1', "2", 1), now), Err(ProofError::Version));
    assert_eq!(one.verify("hello", b"", &one.prove("hello", b"").unwrap()), Ok(()));
}

#[test]
fn while_a_secret_is_changed_both_open_and_the_first_seals() {
    let (old, both, new) = (ring(&[1]), ring(&[2, 1]), ring(&[2]));
    let of_old = old.seal("a", b"x", b"").unwrap();
    assert_eq!(both.open("a", &of_old, b"").unwrap(), b"x");
    assert_eq!(both.verify("p", b"m", &old.prove("p", b"m").unwrap()), Ok(()));
    let of_both = both.seal("a", b"y", b"").unwrap();
    assert_eq!(new.open("a", &of_both, b"").unwrap(), b"y");
    assert_eq!(old.open("a", &of_both, b""), Err(OpenError::AnotherSecret));
    assert!(both.is_of_a_former("a", &of_old) && !both.is_of_a_former("a", &of_both));
    assert!(!new.is_of_a_former("a", &of_old) && !both.is_of_a_former("a", b""));
    assert_eq!(new.verify("p", b"m", &both.prove("p", b"m").unwrap()), Ok(()));
    assert_eq!((both.count(), both.name()), (2, new.name()));
    assert_ne!(old.name(), new.name());
}

#[test]
fn a_file_is_read_in_both_ways_of_writing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let name = |text: &str| {
        fs::write(&path, text).unwrap();
        load(&path, false).map(|ring| ring.name()).unwrap()
    };
    let hexadecimal = name(&"07".repeat(32));
    assert_eq!(hexadecimal, ring(&[7]).name());
    assert_eq!(name("# of the fleet\n\n  BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=  \r\n"), hexadecimal);
    assert_ne!(name(&fresh()), name(&fresh()));
    fs::write(&path, format!("{}\n{}\n", fresh(), fresh())).unwrap();
    assert_eq!(load(&path, false).map(|ring| ring.count()).unwrap(), 2);
}

#[test]
fn a_file_that_is_no_secret_is_told_without_what_is_in_it() {
    assert!(refused(b"").contains("holds no secret"));
    assert!(refused(b"# nothing\n\n").contains("holds no secret"));
    let good = fresh();
    let told = refused(format!("{good}\nhunter2!\n").as_bytes());
    assert!(told.contains("line 2 that is neither") && !told.contains("hunter2"), "{told}");
    assert!(refused(b"c2hvcnQ=\n").contains("line 1 that is too short"));
    // 62 digits are 31 bytes, and would be 46 as base64.
    assert!(refused("ab".repeat(31).as_bytes()).contains("too short"));
    assert!(refused("a".repeat(65).as_bytes()).contains("neither"), "half a byte");
    assert!(refused(&[0xff, 0xfe]).contains("neither"));
    assert!(refused(format!("{good}\n").repeat(9).as_bytes()).contains("more than 8"));
    assert!(refused(&[b'#'; 20_000]).contains("longer than 16384"));
}

#[test]
fn what_is_no_file_or_cannot_be_made_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let told = |path: &Path, alone: bool| load(path, alone).err().unwrap().to_string();
    assert!(told(folder.path(), true).contains("no regular file"));
    let absent = folder.path().join("absent");
    assert!(told(&absent, false).contains("entrepot fleet secret > FILE"));
    assert!(!absent.exists());
    assert!(told(&absent.join("deep"), true).contains("cannot be made"));
    fs::write(&absent, fresh()).unwrap();
    assert!(told(&absent.join("deep"), true).contains("cannot be read"), "its folder is a file");
    assert!(inspect(&folder.path().join("other"), true).is_ok() && !folder.path().join("other").exists());
}

#[test]
fn many_that_start_at_once_have_one_secret_closed_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let start = std::sync::Barrier::new(16);
    let names: Vec<String> = std::thread::scope(|scope| {
        let one = || {
            start.wait();
            load(&path, true).map(|ring| ring.name()).unwrap()
        };
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    assert!(!may_be_read_by_others(&path));
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(may_be_read_by_others(&path), "{mode:o}");
    }
}

#[test]
fn who_needs_a_secret_that_is_not_there_is_told_which_key_to_set() {
    let secret = FleetSecret::default();
    assert!(!secret.is_present());
    let told = secret.need("signing tokens").err().unwrap().to_string();
    assert!(told.starts_with("signing tokens needs") && told.contains("`secret_file` in [fleet]"), "{told}");
    secret.replace(Some(ring(&[1])));
    assert!(secret.is_present());
    assert_eq!(secret.need("signing tokens").map(|ring| ring.name()).unwrap(), ring(&[1]).name());
}
