//! What the process is told by signals.

use tokio::signal::unix::{Signal, SignalKind, signal};

pub enum Order {
    Reload,
    Reopen,
    /// Another process is to take this one's place.
    Upgrade,
    Stop,
}

pub struct Signals {
    reload: Signal,
    reopen: Signal,
    upgrade: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Before anything else: an unhandled SIGHUP, SIGUSR1 or SIGUSR2 ends a process.
    pub fn new() -> std::io::Result<Self> {
        Ok(Signals {
            reload: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.reload.recv() => Order::Reload,
            _ = self.reopen.recv() => Order::Reopen,
            _ = self.upgrade.recv() => Order::Upgrade,
            _ = self.terminate.recv() => Order::Stop,
            _ = self.interrupt.recv() => Order::Stop,
        }
    }

    /// Told to stop: while we drain, for the second time, which means now.
    pub async fn insist(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
