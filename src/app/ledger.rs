//! Where it is written down what an operator does: in the audit of the instance that does it, or in its file by a command of its own.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::audit::{Audit, Deed, Ending, Origin, Outcome};
use crate::events::{Change, Listener, What};

/// Changes of one order that are written down, each in a line; of more, their number.
const MAX_CHANGES: usize = 10_000;

/// Where deeds are written down.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Before anything is done.
    ///
    /// # Errors
    /// What is done has to be recorded, and this cannot be: nothing must be done.
    async fn begin(&self, deed: &Deed) -> Result<(), String>;

    /// What came of it. Does not wait.
    fn end(&self, lines: Vec<(Deed, Ending)>);
}

/// In the audit of the process that serves.
pub struct InAudit {
    pub audit: Arc<Audit>,
    pub origin: Origin,
}

#[async_trait]
impl Ledger for InAudit {
    async fn begin(&self, deed: &Deed) -> Result<(), String> {
        self.audit.begun(&self.origin, deed).await.map_err(|error| format!("[audit] is required: {error}"))
    }

    fn end(&self, lines: Vec<(Deed, Ending)>) {
        for (deed, ending) in lines {
            self.audit.note(&self.origin, &deed, &ending);
        }
    }
}

/// The changes of one order, as the registry tells of them.
#[derive(Default)]
pub struct Changes {
    /// And how many were left out.
    kept: Mutex<(Vec<(String, What)>, usize)>,
    /// Who is told of them too.
    also: Option<Arc<dyn Listener>>,
}

impl Listener for Changes {
    fn changed(&self, change: &Change) {
        if let Some(also) = &self.also {
            also.changed(change);
        }
        let (kept, left_out) = &mut *self.kept.lock();
        match kept.len() < MAX_CHANGES {
            true => kept.push((change.repository.to_string(), change.what.clone())),
            false => *left_out += 1,
        }
    }
}

impl Changes {
    /// A line for each, and one for the order itself.
    pub fn lines(&self, deed: Deed, ending: Ending) -> Vec<(Deed, Ending)> {
        let (kept, left_out) = &*self.kept.lock();
        let done = || Ending { outcome: Outcome::Ok, status: None, reason: Some("admin".to_owned()) };
        let mut lines: Vec<_> = kept.iter().map(|(repository, what)| (Deed::done(repository, what), done())).collect();
        if *left_out > 0 {
            let reason = Some(format!("and {left_out} further changes"));
            lines.push((deed.clone(), Ending { outcome: Outcome::Ok, status: None, reason }));
        }
        lines.push((deed, ending));
        lines
    }
}

/// One order that is recorded: also one that is given up.
pub struct Entry {
    ledger: Arc<dyn Ledger>,
    deed: Option<Deed>,
    pub changes: Arc<Changes>,
}

impl Entry {
    pub async fn begin(
        ledger: Arc<dyn Ledger>,
        deed: Option<Deed>,
        also: Option<Arc<dyn Listener>>,
    ) -> Result<Self, String> {
        if let Some(deed) = &deed {
            ledger.begin(deed).await?;
        }
        Ok(Entry { ledger, deed, changes: Arc::new(Changes { also, ..Changes::default() }) })
    }

    pub fn end(mut self, outcome: Outcome, reason: Option<String>) {
        self.tell(outcome, reason);
    }

    fn tell(&mut self, outcome: Outcome, reason: Option<String>) {
        if let Some(deed) = self.deed.take() {
            self.ledger.end(self.changes.lines(deed, Ending { outcome, status: None, reason }));
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.tell(Outcome::Failed, Some("it was given up".to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    #[async_trait]
    impl Ledger for Lines {
        async fn begin(&self, deed: &Deed) -> Result<(), String> {
            self.0.lock().push(format!("begun {}", deed.action));
            Ok(())
        }

        fn end(&self, lines: Vec<(Deed, Ending)>) {
            let told = lines.iter().map(|(deed, ending)| format!("{} {}", ending.outcome.word(), deed.action));
            self.0.lock().extend(told);
        }
    }

    #[tokio::test]
    async fn an_order_is_written_down_with_its_changes_also_when_it_is_given_up() {
        let lines = Arc::new(Lines::default());
        let deed = || Some(Deed { action: "manifest_removed", ..Deed::default() });
        let entry = Entry::begin(lines.clone(), deed(), None).await.unwrap();
        entry.changes.changed(&Change {
            actor: crate::auth::Identity::Anonymous,
            request: crate::telemetry::RequestId::new(),
            repository: "a".parse().unwrap(),
            what: What::TagDeleted { tag: "1".parse().unwrap(), old: None },
        });
        entry.end(Outcome::Ok, None);
        drop(Entry::begin(lines.clone(), deed(), None).await.unwrap());
        drop(Entry::begin(lines.clone(), None, None).await.unwrap());
        let told = lines.0.lock().clone();
        assert_eq!(
            told,
            [
                "begun manifest_removed",
                "ok tag_deleted",
                "ok manifest_removed",
                "begun manifest_removed",
                "failed manifest_removed"
            ]
        );
    }
}
