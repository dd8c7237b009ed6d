//! No secret in any log. Whatever the tests' HTTP client shows a server as a credential is noted here, and whenever an Entrepot ends,
//! everything that it has written is looked through: stdout, stderr, access log, audit.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use base64::Engine as _;

static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Shorter texts are in logs by chance: `secret`, `x`, `a.b.c`.
const SHORTEST: usize = 12;
/// What a query or form of the token endpoint holds, and no line of a log.
const FORMS: [&str; 6] = ["/token?", "grant_type=", "password=", "refresh_token=", "assertion=", "client_secret="];

/// Notes a secret that a test uses.
pub fn note(secret: &str) {
    if secret.len() >= SHORTEST {
        KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(secret.to_owned());
    }
}

/// Notes what an `Authorization` shows: the whole, and of Basic the password.
pub fn note_authorization(value: &str) {
    let Some((_, credential)) = value.trim().split_once(' ') else { return };
    note(credential.trim());
    let decoded = base64::engine::general_purpose::STANDARD.decode(credential.trim()).ok();
    if let Some((_, password)) = decoded.as_deref().and_then(|pair| std::str::from_utf8(pair).ok()?.split_once(':')) {
        note(password);
    }
}

/// Notes the password of a form of the token endpoint.
pub fn note_form(form: &str) {
    for (name, value) in form.split('&').filter_map(|pair| pair.split_once('=')) {
        if ["password", "refresh_token", "assertion", "client_secret", "subject_token"].contains(&name) {
            note(value);
        }
    }
}

/// What of it stands in a log: one line for each, which does not repeat the secret.
pub fn found_in(text: &str) -> Vec<String> {
    let known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    // All at once: there are thousands of them at last, and logs of a hundred thousand lines.
    let all: Vec<&str> = known.iter().map(String::as_str).chain(FORMS).collect();
    let searched = aho_corasick::AhoCorasick::new(&all).expect("texts");
    let whole: BTreeSet<&str> =
        searched.find_overlapping_iter(text).map(|found| all[found.pattern().as_usize()]).collect();
    let line = |what: &&str| {
        let line = text.lines().find(|line| line.contains(*what)).unwrap_or_default();
        format!(
            "{} bytes that begin with {:?}, in: {}",
            what.len(),
            what.chars().take(4).collect::<String>(),
            line.replace(*what, "<HERE>")
        )
    };
    whole.iter().map(line).collect()
}

/// Looks through a log; the test fails if a secret is in it, unless it fails already.
pub fn look_through(log: &Path) {
    // A device has no end.
    if !log.is_file() {
        return;
    }
    let Ok(bytes) = std::fs::read(log) else { return };
    let found = found_in(&String::from_utf8_lossy(&bytes));
    if !found.is_empty() && !std::thread::panicking() {
        panic!("secrets in {}:\n{}", log.display(), found.join("\n"));
    }
}
