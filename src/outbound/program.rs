//! Programs of others that we run to ask or tell them something.

use std::process::Command;

/// What a service manager says to the process that it started, and to no other: a child that knew it could speak in our name.
const OF_MANAGER: [&str; 8] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "SYSTEMD_EXEC_PID",
];

/// It has our environment, but for what is said to this process alone.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    for variable in OF_MANAGER {
        command.env_remove(variable);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_know_of_our_manager() {
        let command = program("/bin/true");
        let taken: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"]
        {
            assert!(taken.iter().any(|name| *name == variable), "{variable}");
        }
        assert_eq!(taken.len(), OF_MANAGER.len());
    }
}
