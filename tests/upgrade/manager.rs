//! What a service manager is told, and in which order.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc;

use rustix::process::Signal;

use super::world::{Serving, kill};
use crate::harness::{PATIENCE, Setup};

const LIFE: &str = "WATCHDOG=1";

/// What a service manager hears. It is read as it comes, as by a manager that is not busy: the queue has room for ten words.
struct Ear(mpsc::Receiver<String>);

impl Ear {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE * 3)).expect("a socket");
        let (hear, heard) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok(count) = socket.recv(&mut buffer) {
                if hear.send(String::from_utf8_lossy(&buffer[..count]).into_owned()).is_err() {
                    return;
                }
            }
        });
        Ear(heard)
    }

    fn next(&self) -> String {
        self.0.recv_timeout(PATIENCE).expect("a word in time")
    }

    /// The next words that are no sign of life.
    fn words(&self) -> String {
        std::iter::repeat_with(|| self.next()).find(|words| words != LIFE).expect("there is no end")
    }
}

#[test]
fn systemd_hears_of_readiness_reloads_upgrades_life_and_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let ear = Ear::at(&path);
    let setup = Setup::registry().environment("NOTIFY_SOCKET", &path.display().to_string());
    let mut serving = Serving::start(setup.environment("WATCHDOG_USEC", "200000"));
    assert!(ear.words().starts_with("READY=1"));
    serving.entrepot.reload(|setup| setup.set("log.level", "\"info\""), "ok");
    assert!(ear.words().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(ear.words().starts_with("READY=1"));
    let process = serving.upgrade(None).expect("an upgrade");
    assert_eq!(ear.words(), format!("MAINPID={process}"), "before anything that the new one says");
    assert!(ear.words().starts_with("READY=1"));
    serving.old_has_ended();
    // The old one has not said that the service stops; from here on signs of life are of the new one.
    assert!(ear.0.try_iter().all(|words| words == LIFE));
    (0..3).for_each(|_| assert_eq!(ear.next(), LIFE));
    kill(process, Signal::TERM);
    assert!(ear.words().starts_with("STOPPING=1"));
}
