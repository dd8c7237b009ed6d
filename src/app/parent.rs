//! Who started this process, and whether more than it ends when it does: then no other process can take its place.
//!
//! Looked at in the beginning: whoever loses its parent later is given to process 1, which knows nothing of it and ends with nothing of it.

use std::path::Path;

use super::manager;

/// Programs that start others and look after them until these end, by the names that the kernel has for them (15 letters at most):
/// supervisord, runit, s6, daemontools, and those of containerd and podman where a container has the machine's own processes.
const WATCHERS: [&str; 6] = ["supervisord", "runsv", "s6-supervise", "supervise", "containerd-shim", "conmon"];

#[derive(Debug, Default)]
pub struct Parent {
    /// Ours.
    process: u32,
    /// 0: one that this process cannot see, outside of its container.
    parent: u32,
    /// Its name.
    name: String,
    /// Our session is that of process 1, or one of our own: a shell that was entered has another one.
    in_session_of_init: bool,
    in_container: bool,
    /// Which is told who comes after us, or says itself that it cannot be.
    is_systemd: bool,
}

impl Parent {
    /// Called once, as early as possible.
    pub fn of_process() -> Parent {
        let process = std::process::id();
        let parent = rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get().unsigned_abs());
        let name = std::fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
        let session = session_of("self");
        // Where process 1 cannot be looked at, it leads its own.
        let of_init = session_of("1").unwrap_or(1);
        let in_session_of_init = session.is_none_or(|session| session == of_init || session == process);
        let of_kubernetes = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty());
        let in_container =
            of_kubernetes || ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists());
        let is_systemd = manager::has_started_us();
        Parent { process, parent, name: name.trim().to_owned(), in_session_of_init, in_container, is_systemd }
    }

    /// Why nobody can take our place, in a sentence.
    pub fn hindrance(&self) -> Option<String> {
        if self.process == 1 {
            return Some(
                "this is process 1 of a container, which ends with it: replace the container, and let the new one begin before the old \
                 one ends"
                    .to_owned(),
            );
        }
        if self.is_systemd {
            return None;
        }
        // An init in a container (`docker run --init`, a shell that waits for us) ends with what it started, or starts it again.
        if self.in_container && self.parent == 1 && self.in_session_of_init {
            return Some(
                "process 1 of this container has started this process and ends with it, and the container too: replace the container"
                    .to_owned(),
            );
        }
        if self.in_container && self.parent == 0 {
            return Some(
                "this process was started from outside of this container, which may end with it: replace the container"
                    .to_owned(),
            );
        }
        WATCHERS.contains(&self.name.as_str()).then(|| {
            format!(
                "{} has started this process, and would begin another one or end everything when this one ends: restart by it",
                self.name
            )
        })
    }
}

/// Of a process, by its name in /proc.
fn session_of(process: &str) -> Option<u32> {
    session_in(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// `pid (name) state parent group session …`, where a name may hold anything.
fn session_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a container, started by process 1.
    fn of_init() -> Parent {
        let name = "tini".to_owned();
        Parent { process: 7, parent: 1, name, in_session_of_init: true, in_container: true, is_systemd: false }
    }

    fn why(parent: Parent) -> String {
        parent.hindrance().unwrap_or_default()
    }

    #[test]
    fn whoever_takes_a_container_along_cannot_be_replaced() {
        assert!(why(Parent { process: 1, parent: 0, ..of_init() }).starts_with("this is process 1 of a container"));
        // Whoever runs outside of a container as well.
        assert!(!why(Parent { process: 1, parent: 0, in_container: false, ..of_init() }).is_empty());
        assert!(why(of_init()).starts_with("process 1 of this container has started this process"));
        // Containers of a pod that see each other's processes.
        assert!(why(Parent { parent: 0, ..of_init() }).starts_with("this process was started from outside"));
    }

    #[test]
    fn process_1_is_no_reason_where_it_has_not_started_us() {
        // A shell that was entered has ended before we looked.
        assert_eq!(why(Parent { in_session_of_init: false, ..of_init() }), "");
        assert_eq!(why(Parent { parent: 5, name: "bash".into(), ..of_init() }), "");
        // A machine's own.
        assert_eq!(why(Parent { in_container: false, ..of_init() }), "");
        assert_eq!(why(Parent { is_systemd: true, ..of_init() }), "");
    }

    #[test]
    fn a_program_that_starts_what_ends_anew_is_named() {
        for name in WATCHERS {
            for in_container in [true, false] {
                let parent = Parent { parent: 5, name: name.into(), in_container, ..of_init() };
                assert!(why(parent).starts_with(&format!("{name} has started this process")));
            }
            assert!(name.len() <= 15);
        }
    }

    #[test]
    fn a_session_is_found_behind_any_name() {
        assert_eq!(session_in("7 (a) b) c) S 1 7 5 0 -1"), Some(5));
        assert_eq!(session_in("7 (entrepot) S 1"), None);
        assert_eq!(session_in(""), None);
        let ours = Parent::of_process();
        assert_eq!(ours.process, std::process::id());
        assert!(session_of("self").is_some() && !ours.name.is_empty());
    }
}
