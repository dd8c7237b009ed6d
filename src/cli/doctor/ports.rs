//! Addresses to listen at: free before we serve, and ours afterwards.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::door::There;
use super::finding::Findings;
use crate::config::Config;

const CHECK: &str = "ports";
const START: &str =
    "start it (`systemctl start entrepot`, or `entrepot serve`); if it does not start or stay, its log says why";
/// Below it, a port needs a right.
const PRIVILEGED: u16 = 1024;

/// Each address, and which key says it; port 0 is any free one.
fn addresses(config: &Config) -> Vec<(SocketAddr, String)> {
    let listeners = config.listener.iter().enumerate();
    let tcp = listeners.filter_map(|(index, one)| Some((one.address.tcp()?, format!("listener[{index}]"))));
    let mut all: Vec<_> = tcp.collect();
    all.extend(config.admin.as_ref().map(|admin| (admin.address, "admin".to_owned())));
    all.retain(|(address, _)| address.port() != 0);
    all
}

/// Whether the system would let us listen.
pub fn free(config: &Config) -> Findings {
    let mut findings = Findings::of(CHECK);
    for (address, key) in addresses(config) {
        match TcpListener::bind(address) {
            Ok(_) => findings.ok(format!("{address} ({key}) is free")),
            Err(error) => refused(address, &key, &error, &mut findings),
        }
    }
    findings
}

fn refused(address: SocketAddr, key: &str, error: &io::Error, findings: &mut Findings) {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => findings.error(
            format!("{address} ({key}) is in use by another program"),
            format!(
                "`ss -ltnp 'sport = :{port}'` says by which: stop that, or give another address; if it is systemd, for a socket unit of \
                 Entrepot's, all is well"
            ),
        ),
        io::ErrorKind::PermissionDenied if port < PRIVILEGED => findings.error(
            format!("{address} ({key}): this user may not listen at ports below {PRIVILEGED}"),
            "let the service have CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities), or give a higher port",
        ),
        io::ErrorKind::AddrNotAvailable => findings.error(
            format!("{address} ({key}) is no address of this machine"),
            "give one of `ip address`, or 0.0.0.0 or [::] for all",
        ),
        _ => findings.error(format!("{address} ({key}) cannot be listened at: {error}"), "give another address"),
    }
}

/// What was found at the listeners, and whether the admin address answers.
pub fn ours(config: &Config, there: &[Option<There>], admin: Option<&Result<(), String>>) -> Findings {
    let mut findings = Findings::of(CHECK);
    for (index, (listener, there)) in config.listener.iter().zip(there).enumerate() {
        let (address, key) = (&listener.address, format!("listener[{index}]"));
        match there {
            Some(There::Entrepot) => findings.ok(format!("{address} ({key}) answers as Entrepot")),
            Some(There::Nobody) => findings.error(
                format!("nobody listens at {address} ({key})"),
                START,
            ),
            Some(There::Somebody(why)) => findings.error(
                format!("{address} ({key}) is not answered by this configuration's Entrepot: {why}"),
                format!(
                    "`ss -ltnp 'sport = :{}'` says who listens; restart what serves with another configuration",
                    address.tcp().map(|address| address.port()).unwrap_or_default()
                ),
            ),
            None => findings.warning(
                format!("{address} ({key}) cannot be asked from here: it is a unix socket, or wants a PROXY header or a client certificate"),
                "ask through what stands before it",
            ),
        }
    }
    match (admin, &config.admin) {
        (Some(Ok(())), Some(admin)) => findings.ok(format!("{} (admin) answers", admin.address)),
        (Some(Err(why)), _) => findings.error(why.clone(), START),
        _ => findings.warning(
            "there is no [admin] address: commands and monitoring cannot ask whether it is ready",
            "give one that only this machine reaches: [admin] address = \"127.0.0.1:5001\"",
        ),
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_told_of() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let text = format!("route = []\n[[listener]]\naddress = \"{address}\"\n[admin]\naddress = \"127.0.0.1:0\"\n");
        let config: Config = toml::from_str(&text).unwrap();
        let found = free(&config).found;
        assert!(found.len() == 1 && found[0].level == Level::Error && found[0].what.contains("in use"), "{found:?}");
        drop(taken);
        assert_eq!(free(&config).found[0].level, Level::Ok);
        let found = ours(&config, &[Some(There::Nobody)], Some(&Ok(()))).found;
        assert_eq!((found[0].level, found[1].level), (Level::Error, Level::Ok));
    }
}
