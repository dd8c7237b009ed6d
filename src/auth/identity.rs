//! Who makes a request.

use std::fmt;
use std::sync::Arc;

use super::robot::Reach;

/// Who makes a request, as far as we have found out ourselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular.
    #[default]
    Anonymous,
    Known(Arc<Known>),
}

/// Somebody who has proven who they are.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    pub kind: Kind,
    /// Of users as in the file or the configuration, of robots as they were made, of workloads as the configuration makes it of
    /// what their token says.
    pub name: String,
    /// Of robots: what they were made for.
    pub reach: Option<Reach>,
    /// Which of several secrets of one name was shown: the id of a robot's, the version of the entry that a workload is here by.
    pub secret: Option<String>,
    /// Of workloads: those that its entry names, beside those that name it.
    pub groups: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// With a password.
    User,
    /// With a secret that we made.
    Robot,
    /// With a token of somebody whose word counts here. Its name is no user's: it has a ':', or there are no users.
    Workload,
}

impl Identity {
    pub fn user(name: &str) -> Self {
        Identity::of(Kind::User, name)
    }

    pub fn robot(name: &str, id: &str, reach: Reach) -> Self {
        let robot = Known { reach: Some(reach), secret: Some(id.to_owned()), ..Known::of(Kind::Robot, name) };
        Identity::Known(Arc::new(robot))
    }

    /// `entry`: what it is here by, if that gives it tokens of ours.
    pub fn workload(name: &str, entry: Option<&str>, groups: &[String]) -> Self {
        let secret = entry.map(str::to_owned);
        Identity::Known(Arc::new(Known { secret, groups: groups.to_vec(), ..Known::of(Kind::Workload, name) }))
    }

    fn of(kind: Kind, name: &str) -> Self {
        Identity::Known(Arc::new(Known::of(kind, name)))
    }

    pub fn known(&self) -> Option<&Known> {
        match self {
            Identity::Anonymous => None,
            Identity::Known(known) => Some(known),
        }
    }

    pub fn is_anonymous(&self) -> bool {
        matches!(self, Identity::Anonymous)
    }

    /// The same text for the same somebody, and another for anybody else: `user:alice`, `robot:ci`, `anonymous`.
    pub fn subject(&self) -> String {
        self.to_string()
    }

    /// The name for logs; `None`: there is none to tell.
    pub fn log_name(&self) -> Option<String> {
        self.known().map(|known| match known.kind {
            Kind::User | Kind::Workload => known.name.clone(),
            Kind::Robot => self.to_string(),
        })
    }
}

impl Known {
    fn of(kind: Kind, name: &str) -> Self {
        Known { kind, name: name.to_owned(), reach: None, secret: None, groups: Vec::new() }
    }
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Robot => "robot",
            Kind::Workload => "workload",
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Anonymous => f.write_str("anonymous"),
            Identity::Known(known) => write!(f, "{}:{}", known.kind.word(), known.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_taken_for_another() {
        let robot = Identity::robot("ci", "1", Reach::default());
        let workload = Identity::workload("ci", None, &[]);
        let all = [Identity::Anonymous, Identity::user("ci"), robot, workload];
        let subjects: std::collections::BTreeSet<_> = all.iter().map(Identity::subject).collect();
        assert_eq!(subjects.len(), all.len());
        assert_eq!(all[1].log_name().as_deref(), Some("ci"));
        assert_eq!(all[2].log_name().as_deref(), Some("robot:ci"));
        assert_eq!(all[0].log_name(), None);
    }
}
