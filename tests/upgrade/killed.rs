//! SIGKILL, where systemd's own tool has opened the socket and something else than us keeps it: whoever connects waits, and is served by
//! the next process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::world::{configured, kill, script};
use crate::harness::entrepot::BINARY;
use crate::harness::process::{Ending, Process, command};
use crate::harness::{Connection, Request, Stop, ports, within};

const CLIENTS: usize = 4;
/// Until the next process serves, on a machine that does other things too.
const LONG: Duration = Duration::from_secs(90);
/// For all that a test wants.
const VERY_LONG: Duration = Duration::from_secs(1800);

#[derive(Default)]
struct Done {
    served: AtomicUsize,
    /// Those that a killed process had accepted.
    broken: AtomicUsize,
    refused: Mutex<Vec<String>>,
}

/// So many kills, and so many requests at least, each on a connection of its own.
pub fn kills_refuse_no_connection(kills: usize, requests: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let address = ports::free();
    let config = configured(folder.path(), &format!("[[listener]]\naddress = \"{address}\""));
    let pid = folder.path().join("pid");
    let manager = manager(folder.path(), &pid);
    let mut activate = command("systemd-socket-activate");
    activate.arg("--listen").arg(address.to_string()).arg(manager).args([BINARY, "serve", "--config"]).arg(config);
    let mut process = Process::start("systemd-socket-activate", activate, &folder.path().join("log"), Ending::Kill);
    assert!(process.wait_ready(|| Request::get("/v2/").try_send(address).is_ok()), "{}", process.log());
    let (done, stop, begun) = (Done::default(), Stop::default(), Instant::now());
    std::thread::scope(|scope| {
        let guard = stop.guard();
        (0..CLIENTS).for_each(|_| drop(scope.spawn(|| connect_all_the_time(address, &done, &stop))));
        let mut killed = 0;
        for _ in 0..kills {
            let served = done.served.load(Relaxed);
            within(LONG, "the next process serves", || done.served.load(Relaxed) > served + 2 * CLIENTS);
            killed = kill_another(&pid, killed);
        }
        within(VERY_LONG, "enough requests", || done.served.load(Relaxed) >= requests);
        drop(guard);
    });
    let Done { served, broken, refused } = done;
    println!(
        "{served:?} connections served, {kills} kills in {:?}: {broken:?} that had been accepted broke, {} refused",
        begun.elapsed(),
        refused.lock().expect("unbroken").len()
    );
    assert_eq!(refused.into_inner().expect("unbroken"), Vec::<String>::new());
    assert!(broken.into_inner() <= kills * CLIENTS, "only what a killed process had accepted");
}

/// What keeps the sockets, and starts the next process when one has ended: as systemd does.
fn manager(folder: &Path, pid: &Path) -> std::path::PathBuf {
    let lines = format!(
        "while :; do\n\
         sh -c 'export LISTEN_PID=$$; exec setpriv --pdeathsig KILL \"$@\"' sh \"$@\" &\n\
         echo $! > {0}.new && mv {0}.new {0}\n\
         wait $!\ndone",
        pid.display()
    );
    script(folder, "manager", &lines)
}

/// The process that serves now, if it is another than the one that was killed last.
fn kill_another(pid: &Path, before: u32) -> u32 {
    let mut present = 0;
    within(LONG, "another process is there", || {
        present = std::fs::read_to_string(pid).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        present != 0 && present != before
    });
    kill(present, Signal::KILL);
    present
}

fn connect_all_the_time(address: SocketAddr, done: &Done, stop: &Stop) {
    while !stop.is_set() {
        let connection = match Connection::open(address) {
            Ok(connection) => connection,
            Err(error) => return done.refused.lock().expect("unbroken").push(error.to_string()),
        };
        match connection.ask(Request::get("/v2/").header("Connection", "close")) {
            Ok((answer, _)) if answer.status == 200 && answer.complete => drop(done.served.fetch_add(1, Relaxed)),
            Ok(_) | Err(_) => drop(done.broken.fetch_add(1, Relaxed)),
        }
    }
}
