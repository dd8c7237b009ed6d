//! What a command logs in with at a registry, as its clients do. The password comes from a file or stdin: arguments are read by others on the machine.

use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use crate::units::Secret;

/// A password, with the end of its line, is no longer than this, in bytes.
const MAX_PASSWORD: u64 = 64 << 10;
/// Means stdin.
const STDIN: &str = "-";

#[derive(Clone)]
pub struct Access {
    pub user: String,
    password: Secret,
}

impl Access {
    /// Blocking.
    ///
    /// # Errors
    /// For people: there is no password in it.
    pub fn read(user: &str, file: &Path) -> Result<Self, String> {
        let mut text = String::new();
        let read = match file.to_str() {
            Some(STDIN) => std::io::stdin().take(MAX_PASSWORD + 1).read_to_string(&mut text),
            _ => std::fs::File::open(file).and_then(|file| file.take(MAX_PASSWORD + 1).read_to_string(&mut text)),
        };
        let failed = |what: &dyn std::fmt::Display| format!("--password-file {}: {what}", file.display());
        if read.map_err(|error| failed(&error))? as u64 > MAX_PASSWORD {
            return Err(failed(&"is too long for a password"));
        }
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(failed(&"is empty")),
            password => Ok(Access { user: user.to_owned(), password: password.into() }),
        }
    }

    /// Base64 is always a field's value.
    pub fn basic(&self) -> HeaderValue {
        let login = STANDARD.encode(format!("{}:{}", self.user, self.password.reveal()));
        let mut value =
            HeaderValue::from_str(&format!("Basic {login}")).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
        value.set_sensitive(true);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_line_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("word");
        std::fs::write(&file, "1234\n").unwrap();
        assert_eq!(Access::read("ann", &file).unwrap().basic(), "Basic YW5uOjEyMzQ=");
        std::fs::write(&file, "\n").unwrap();
        assert!(Access::read("ann", &file).err().unwrap().contains("is empty"));
        std::fs::write(&file, "x".repeat(70_000)).unwrap();
        assert!(Access::read("ann", &file).err().unwrap().contains("too long"));
        assert!(Access::read("ann", Path::new("/nowhere")).err().unwrap().contains("/nowhere"));
    }
}
