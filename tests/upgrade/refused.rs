//! Successors that cannot serve, each in its own way.

use std::path::Path;

use super::load::Load;
use super::world::{Serving, script};

/// Each is told to take the place of the process that serves; the load goes on. How many there were.
pub fn none_of_them_takes_the_place(serving: &Serving, load: &Load) -> usize {
    let (first, mut count) = (serving.process_id(), 0);
    let mut refused = |binary: Option<&Path>, told: &str| {
        let said = serving.upgrade(binary).expect_err("no successor");
        assert!(said.contains(told), "{said}");
        assert_eq!(serving.process_id(), first);
        load.goes_on();
        count += 1;
    };
    let ends = script(serving.folder(), "ends", "exit 3");
    refused(Some(&ends), "the successor ended before it came to us: exit status: 3");
    refused(Some(Path::new("/bin/true")), "the successor ended before it came to us: exit status: 0");
    // A configuration that was changed for the worse.
    let good = std::fs::read_to_string(serving.entrepot.config_path()).expect("the configuration");
    std::fs::write(serving.entrepot.config_path(), good.replace("threads", "treads")).expect("a file");
    refused(None, "treads");
    // One that can only be found to be wrong by trying.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let more = format!("{good}\n[[listener]]\naddress = \"{}\"\n", taken.local_addr().expect("its address"));
    std::fs::write(serving.entrepot.config_path(), more).expect("a file");
    refused(None, "in use");
    std::fs::write(serving.entrepot.config_path(), &good).expect("a file");
    // One that never says anything: it has 30 s.
    let pid = serving.folder().join("pid");
    let hangs = script(serving.folder(), "hangs", &format!("echo $$ > {}\nexec sleep 300", pid.display()));
    refused(Some(&hangs), "the successor has not proven itself in 30 seconds");
    let pid = std::fs::read_to_string(pid).expect("it was started");
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "it is ended");
    count
}
