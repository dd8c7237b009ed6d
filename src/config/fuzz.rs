//! What must hold for a configuration, whatever it says.

use super::Config;

/// It loads, or each thing that is wrong with it is told in a line that names the file.
pub fn config(bytes: &[u8]) {
    // Gone with the value, also when something below does not hold.
    let Ok(file) = tempfile::Builder::new().prefix("entrepot-fuzz-config").suffix(".toml").tempfile() else { return };
    if std::fs::write(file.path(), bytes).is_err() {
        return;
    }
    if let Err(errors) = Config::load(Some(file.path()), std::iter::empty()) {
        assert!(!errors.0.is_empty());
        for error in errors.0 {
            let text = error.to_string();
            assert!(text.contains("entrepot-fuzz-config") && !text.contains('\n'), "{text:?}");
        }
    }
}
