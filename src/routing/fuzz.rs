//! What must hold of a name and an `ns`, whatever they are.

use http::Method;

use super::names::{Meaning, Names};
use crate::oci::Action;
use crate::remote::RemoteNames;

/// A request's target: what it means is one remote's and stays so, however it is asked again.
pub fn ns(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (path, query) = text.trim().split_once('?').map_or((text.trim(), None), |(path, query)| (path, Some(query)));
    let Ok(action) = Action::parse(&Method::GET, path, query) else { return };
    let Some(asked) = action.resource.repository() else { return };
    let remotes = [
        ("hub", RemoteNames::new("docker.io", None)),
        ("own", RemoteNames::new("own.example:5000", None)),
        ("deep", RemoteNames::new("deep.example", Some("own.example/deep"))),
    ];
    let names = Names::new(remotes.iter().map(|(remote, names)| (*remote, names)));
    for host in [None, Some("hub"), Some("own")] {
        match names.meaning(asked, action.ns.as_deref(), || host) {
            Meaning::Canonical { name, remote } => {
                assert_eq!(names.owner(&name), Some(remote));
                assert!(action.ns.as_deref().is_none_or(|ns| names.declared(ns) == Some(remote)));
                for ns in [None, action.ns.as_deref()] {
                    let again = names.meaning(&name, ns, || Some("own"));
                    assert_eq!(again, Meaning::Canonical { name: name.clone(), remote });
                }
            }
            Meaning::AsAsked => assert!(action.ns.is_none() && host.is_none() && names.owner(asked).is_none()),
            Meaning::Undeclared => {
                assert!(action.ns.as_deref().is_some_and(|ns| names.declared(ns).is_none()));
            }
            Meaning::Contradiction | Meaning::TooLong => {}
        }
    }
}
