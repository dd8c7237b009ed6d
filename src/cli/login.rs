//! What a command logs in with at the admin endpoint. A password stands in no argument, which others on the machine can read.

use std::io::Read as _;
use std::path::Path;

use crate::config::{PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE, USER_VARIABLE};
use crate::units::Secret;

/// A file that holds a password is no longer than this, in bytes.
const MAX_FILE: u64 = 64 << 10;

pub struct Login {
    pub user: String,
    pub password: Secret,
}

impl Login {
    /// Of `--user` or the environment; `None`: nobody in particular.
    ///
    /// # Errors
    /// A name without a password, or a password without a name, or a file that cannot be read.
    pub fn find(user: Option<&str>) -> Result<Option<Self>, String> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name: &str| {
            let value = variable(name).map(|value| value.into_string().map_err(|_| format!("{name} is no text")));
            value.transpose()
        };
        let user = match user {
            Some(user) => Some(user.to_owned()),
            None => text(USER_VARIABLE)?,
        };
        let password = match (text(PASSWORD_VARIABLE)?, variable(PASSWORD_FILE_VARIABLE)) {
            (Some(_), Some(_)) => {
                return Err(format!(
                    "{PASSWORD_VARIABLE} and {PASSWORD_FILE_VARIABLE} are both set: one of them is enough"
                ));
            }
            (Some(password), None) => Some(password),
            (None, Some(file)) => Some(read(Path::new(&file))?),
            (None, None) => None,
        };
        match (user, password) {
            (Some(user), Some(password)) => Ok(Some(Login { user, password: password.into() })),
            (None, None) => Ok(None),
            (Some(user), None) => Err(format!(
                "the password of '{}' is missing: {PASSWORD_VARIABLE} has it, or the file that {PASSWORD_FILE_VARIABLE} names",
                user.escape_debug()
            )),
            (None, Some(_)) => {
                Err(format!("there is a password, and nobody whose it is: --user or {USER_VARIABLE} says who"))
            }
        }
    }
}

/// Without the end of its line.
fn read(file: &Path) -> Result<String, String> {
    let failed = |what: &dyn std::fmt::Display| format!("{PASSWORD_FILE_VARIABLE}: {}: {what}", file.display());
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    if read.map_err(|error| failed(&error))? as u64 > MAX_FILE {
        return Err(failed(&"is too long for a password"));
    }
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(failed(&"is empty")),
        password => Ok(password.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_a_password_or_says_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "hunter2\r\n").unwrap();
        assert_eq!(read(&path).unwrap(), "hunter2");
        for (text, told) in [(&b"\n"[..], "is empty"), (&[b'x'; (64 << 10) + 1][..], "too long"), (b"\xff", "UTF-8")] {
            std::fs::write(&path, text).unwrap();
            assert!(read(&path).unwrap_err().contains(told), "{told}");
        }
        assert!(read(Path::new("/nowhere")).unwrap_err().contains("/nowhere"));
    }
}
