//! Small things that instances tell each other. What is read is as long as what may be written, whoever wrote it.

use std::time::Duration;

use ::redis::cmd;

use super::{Redis, milliseconds};
use crate::fleet::MAX_NOTE;

impl Redis {
    pub(in crate::fleet) async fn note(&self, key: &str, value: &str, time: Duration) {
        let Some(live) = self.link.live() else { return };
        let mut command = cmd("SET");
        command.arg(live.keys.note(key)).arg(value).arg("PX").arg(milliseconds(time));
        // Not told is no harm.
        let _ = self.ask::<Option<String>>(&live, &command, &self.seconds.note).await;
    }

    pub(in crate::fleet) async fn noted(&self, key: &str) -> Option<String> {
        let live = self.link.live()?;
        let mut command = cmd("GETRANGE");
        command.arg(live.keys.note(key)).arg(0).arg(MAX_NOTE);
        let value = self.ask::<Vec<u8>>(&live, &command, &self.seconds.noted).await.ok()?;
        if value.is_empty() || value.len() > MAX_NOTE {
            return None;
        }
        String::from_utf8(value).ok()
    }
}
