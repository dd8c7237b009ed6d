//! What must hold for what is read from the journal, whatever it holds.

use std::sync::Arc;

use super::line::Line;
use super::load;
use crate::verdicts::facts::Facts;

/// A journal is read or left aside; a line that is believed reads back.
pub fn journal(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(read) = serde_json::from_slice::<Line>(line) else { continue };
        let mut written = Vec::new();
        if read.append_to(&mut written) {
            let again = serde_json::from_slice::<Line>(&written).ok();
            let mut twice = Vec::new();
            assert!(again.is_some_and(|again| again.append_to(&mut twice)) && twice == written);
        }
    }
    // Gone with the value, also when something below does not hold.
    let Ok(file) = tempfile::Builder::new().prefix("entrepot-fuzz-journal").tempfile() else { return };
    if std::fs::write(file.path(), bytes).is_ok() {
        let facts = Arc::new(Facts::new());
        load::load(file.path(), "check", &facts);
    }
}
