//! What the system lets the process have: open files, of which every connection needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::listener::Config as Listener;

/// Of the files that may be open, connections take at most half: a quarter is for what they read, and one for peers, storage and
/// logs.
const FOR_CONNECTIONS: u64 = 2;

/// Raises the limit of open files as far as the system allows without asking anybody; what it is now.
pub fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        return current.unwrap_or(u64::MAX);
    }
    maximum.unwrap_or(u64::MAX)
}

/// The listeners as they can be held: where all their connections together are more than the process may have files, each gets
/// its part.
pub fn within(files: u64, listeners: &[Listener]) -> Vec<Listener> {
    let wanted: u64 = listeners.iter().map(|listener| listener.max_connections as u64).sum();
    let allowed = files / FOR_CONNECTIONS;
    let mut fitting = listeners.to_vec();
    if wanted <= allowed {
        return fitting;
    }
    for listener in &mut fitting {
        let part = u128::from(allowed) * listener.max_connections as u128 / u128::from(wanted.max(1));
        let part = usize::try_from(part).unwrap_or(usize::MAX).max(1);
        tracing::warn!(
            address = %listener.address,
            max_connections = listener.max_connections,
            lowered_to = part,
            open_files = files,
            "the process may not open as many files as there may be connections"
        );
        listener.max_connections = part;
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(max_connections: usize) -> Listener {
        toml::from_str(&format!("address = \"127.0.0.1:0\"\nmax_connections = {max_connections}")).unwrap()
    }

    #[test]
    fn connections_fit_into_the_files_that_may_be_open() {
        let limits = |files, listeners: &[Listener]| -> Vec<usize> {
            within(files, listeners).iter().map(|listener| listener.max_connections).collect()
        };
        assert_eq!(limits(20_000, &[listener(10_000)]), [10_000]);
        assert_eq!(limits(1_024, &[listener(10_000)]), [512]);
        assert_eq!(limits(1_024, &[listener(10_000), listener(10_000)]), [256, 256]);
        assert_eq!(limits(4, &[listener(10_000), listener(1)]), [1, 1]);
    }
}
