//! One request that may change the registry: its changes are gathered as they are told, and recorded together when it ends,
//! since only then is known what was answered. Whose client leaves in the midst of it is recorded all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::record::{Deed, Ending, Lines, Origin, Outcome, reason};
use super::{Audit, Unrecorded};
use crate::auth::{Asked, Permission, Permit};
use crate::events::{Change, Listener, What};
use crate::oci::{Action, Reference, Resource};

/// Shared with the registry, which tells it of changes.
pub struct Trail {
    audit: Arc<Audit>,
    origin: Origin,
    permit: Permit,
    action: Action,
    changes: Mutex<Vec<Change>>,
    ended: AtomicBool,
}

impl Trail {
    /// # Errors
    /// The audit is required and this cannot be recorded: it must not be done.
    pub async fn begin(
        audit: &Arc<Audit>,
        origin: Origin,
        permit: Permit,
        action: Action,
    ) -> Result<Arc<Trail>, Unrecorded> {
        let trail = Arc::new(Trail {
            audit: audit.clone(),
            origin,
            permit,
            action,
            changes: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        if audit.is_required() {
            let ending = Ending { outcome: Outcome::Begun, status: None, reason: Some(trail.reason(None)) };
            let mut lines = Lines::default();
            lines.push(&trail.origin, &Deed::asked(&trail.action), &ending);
            if let Err(unrecorded) = audit.record(lines).await {
                // The line may come to be written later: then another says that nothing was done.
                trail.note(Some(503), "it could not be recorded");
                return Err(unrecorded);
            }
        }
        Ok(trail)
    }

    /// Tells what came of it.
    pub async fn end(&self, status: u16) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let lines = self.lines(Some(status), self.refusal(status));
        match self.audit.is_required() {
            // The change is made: who asked for it is told so, whether this line is kept or not. The first one is.
            true => drop(self.audit.record(lines).await),
            false => self.audit.note_all(lines),
        }
    }

    fn note(&self, status: Option<u16>, why: &str) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.audit.note_all(self.lines(status, why.to_owned()));
        }
    }

    /// A line for each change; without any, one for what was asked.
    fn lines(&self, status: Option<u16>, why_not: String) -> Lines {
        let mut lines = Lines::default();
        let changes = self.changes.lock();
        for Change { repository, what, .. } in changes.iter() {
            let ending = Ending { outcome: Outcome::Ok, status, reason: Some(self.reason(Some(what))) };
            lines.push(&self.origin, &Deed::done(repository.as_str(), what), &ending);
        }
        let outcome = status.map_or(Outcome::Failed, Outcome::of);
        if changes.is_empty() || outcome != Outcome::Ok {
            let reason = if outcome == Outcome::Ok { self.reason(None) } else { why_not };
            let ending = Ending { outcome, status, reason: Some(reason).filter(|reason| !reason.is_empty()) };
            lines.push(&self.origin, &Deed::asked(&self.action), &ending);
        }
        lines
    }

    /// What allowed it. To move a tag takes more than to push.
    fn reason(&self, what: Option<&What>) -> String {
        let moved = matches!(what, Some(What::TagMoved { old: Some(old), new, .. }) if old != new);
        let needed = if moved { Some(Permission::Overwrite) } else { Permission::needed(&self.action) };
        match needed {
            Some(needed) if self.permit.is_ruled() => self.decided(needed),
            _ => "open".to_owned(),
        }
    }

    fn decided(&self, permission: Permission) -> String {
        let asked = self.action.resource.repository().map_or(Asked::Anywhere, Asked::In);
        reason(self.permit.decide(permission, asked))
    }

    /// What the gate could not know: whether a tag would move, and whose an upload is.
    fn refusal(&self, status: u16) -> String {
        if !matches!(status, 401 | 403) || !self.permit.is_ruled() {
            return String::new();
        }
        let Some(name) = self.action.resource.repository() else { return String::new() };
        let tags = matches!(&self.action.resource, Resource::Manifest { reference: Reference::Tag(_), .. });
        match (tags, self.permit.decide(Permission::Overwrite, Asked::In(name))) {
            (true, refused @ Err(_)) => reason(refused),
            _ => "token".to_owned(),
        }
    }
}

impl Listener for Trail {
    fn changed(&self, change: &Change) {
        self.changes.lock().push(change.clone());
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        self.note(None, "the client left");
    }
}
