//! The configuration as a file: each key with the line of nginx's that it comes from.

use std::fmt::Write as _;

use super::general;
use super::made::{Backend, Certificate, Keys, Listener, Made, SecretFile};
use super::notes::{plain, wrapped};
use super::values::{list, quoted};
use crate::cli::import::{SOCKET, SOCKET_WORDS, port_beside};

/// Where the cache is; nginx's own folder is its own.
const CACHE: &str = "/var/lib/entrepot/cache";
/// Column at which comments begin, where keys leave room.
const COLUMN: usize = 60;

/// Nobody of nginx's is known to be one.
const OPERATORS: [&str; 4] = [
    "Who operates: no rule here allows anybody `admin`, which `entrepot status`, `gc`, `cache purge` and the like ask for by --user \
     (`entrepot upgrade` does not, at the socket of [admin]). Name a user, and take the '#' away:",
    "[[auth.rule]]",
    "who = [\"user:NAME\"]",
    "allow = [\"admin\"]",
];

/// The whole file.
pub fn text(made: &Made, source: &str, to_file: bool) -> String {
    let mut text = String::new();
    wrapped(
        &mut text,
        &format!("Made of {source} by `entrepot import nginx`. Read what follows, then: entrepot check FILE"),
    );
    text.push_str(&made.notes.comments());
    secrets(made, to_file, &mut text);
    for listener in &made.listeners {
        self::listener(listener, &mut text);
    }
    text.push_str("\n# Metrics, health, and what operators do: for machines of yours only.\n[admin]\n");
    key(&mut text, "address", &quoted(&format!("127.0.0.1:{}", admin_port(made))), "");
    wrapped(&mut text, SOCKET_WORDS);
    key(&mut text, "unix", &quoted(SOCKET), "");
    section(&mut text, "[log]", &made.log);
    cache(made, &mut text);
    section(&mut text, "[limits]", &made.limits);
    section(&mut text, "[cors]", &made.cors);
    for backend in &made.backends {
        self::backend(backend, &mut text);
    }
    routes(made, &mut text);
    rules(made, &mut text);
    text
}

/// A password stands in a file of its own: written beside this one, or by whoever knows it.
fn secrets(made: &Made, written: bool, text: &mut String) {
    for SecretFile { path, from, .. } in made.secrets() {
        let path = path.display();
        let told = match written {
            true => format!("The password of {from} is in {path}: give it to the user who serves."),
            false => format!(
                "The password of {from} belongs into {path}, for the user who serves alone: (umask 077; cat > {path})"
            ),
        };
        wrapped(text, &told);
    }
}

/// A key, and as a comment whose word it is.
fn key(text: &mut String, key: &str, value: &str, from: &str) {
    let line = format!("{key} = {value}");
    // Writing to a String cannot fail.
    let _ = match from {
        "" => writeln!(text, "{line}"),
        // What comes of a file ends no comment.
        _ => writeln!(text, "{line:COLUMN$} # {}", plain(from)),
    };
}

fn keys(text: &mut String, keys: &Keys) {
    for line in &keys.0 {
        key(text, &line.key, &line.value, &line.from);
    }
}

fn section(text: &mut String, head: &str, all: &Keys) {
    if !all.0.is_empty() {
        let _ = write!(text, "\n{head}\n");
        keys(text, all);
    }
}

fn listener(listener: &Listener, text: &mut String) {
    let _ = write!(text, "\n[[listener]]\n");
    key(text, "address", &quoted(&listener.address.to_string()), &listener.from);
    if listener.ssl {
        let one = |certificate: &Certificate| {
            let names = if certificate.names.is_empty() {
                String::new()
            } else {
                format!(", names = {}", list(&certificate.names))
            };
            let files =
                format!("certificate = {}, key = {}", quoted(&certificate.certificate), quoted(&certificate.key));
            format!("{{ {files}{names} }}")
        };
        let all: Vec<String> = listener.certificates.iter().map(one).collect();
        let from: Vec<&str> = listener.certificates.iter().map(|certificate| certificate.from.as_str()).collect();
        key(text, "tls", &format!("[{}]", all.join(", ")), &from.join(", "));
    }
    if let Some(at) = listener.redirects.first() {
        key(text, "redirect_to_https", "true", &at.to_string());
    }
    if listener.proxy_protocol {
        key(text, "proxy_protocol", "true", &listener.from);
        if !listener.keys.has("trusted_proxies") {
            let from = "nginx believes it of everybody: name the balancer before it alone";
            key(text, "trusted_proxies", &general::private_networks(), from);
        }
    }
    keys(text, &listener.keys);
}

fn cache(made: &Made, text: &mut String) {
    text.push_str("\n# Blobs and manifests by digest, for those whom the registry lets have them. Files on disk; \"0\" keeps none.\n[cache]\n");
    key(text, "path", &quoted(CACHE), "");
    keys(text, &made.cache);
}

fn backend(backend: &Backend, text: &mut String) {
    let _ = write!(text, "\n[{}]\n", backend.target());
    match backend.mirrors {
        Some(registry) => key(text, "registry", &quoted(registry), &backend.from),
        None => peers(backend, text),
    }
    keys(text, &backend.keys);
    if !backend.forward.is_empty() {
        let from: Vec<&str> = backend.forward.iter().map(|(_, from)| from.as_str()).collect();
        key(text, "forward", &list(backend.forward.iter().map(|(path, _)| path)), &from.join(", "));
    }
}

fn peers(backend: &Backend, text: &mut String) {
    let _ = writeln!(text, "peers = [ # {}", backend.from);
    for peer in &backend.peers {
        let mut value = quoted(&peer.address);
        if peer.weight != 1 || peer.max_connections != 0 || peer.backup {
            value = format!("{{ address = {value}");
            if peer.weight != 1 {
                let _ = write!(value, ", weight = {}", peer.weight);
            }
            if peer.max_connections != 0 {
                let _ = write!(value, ", max_connections = {}", peer.max_connections);
            }
            if peer.backup {
                value.push_str(", backup = true");
            }
            value.push_str(" }");
        }
        value.push(',');
        let _ = writeln!(text, "    {value:0$} # {1}", COLUMN - 4, peer.from);
    }
    text.push_str("]\n");
}

fn routes(made: &Made, text: &mut String) {
    let judged = made.routes.iter().any(|route| route.ruled);
    for route in &made.routes {
        let Some(backend) = made.backends.get(route.backend) else { continue };
        let target = quoted(&backend.target());
        let _ = write!(text, "\n[[route]]\n");
        if !route.hosts.is_empty() {
            key(text, "hosts", &list(&route.hosts), "server_name");
        }
        if route.repositories != "**" {
            key(text, "repositories", &quoted(&route.repositories), &route.from);
        }
        key(text, "read", &target, &route.from);
        match (route.writes, backend.mirrors) {
            (true, _) => key(text, "write", &target, ""),
            (false, None) => text.push_str("# No `write`: nginx lets nobody push.\n"),
            (false, Some(_)) => {}
        }
        match (route.ruled, backend.mirrors) {
            (true, None) => key(text, "auth", &quoted("rules"), ""),
            // Rules count before a remote by themselves, and no rule is about this one.
            (false, Some(_)) if judged && backend.secret.is_none() => key(text, "auth", &quoted("peers"), ""),
            _ => {}
        }
    }
}

fn rules(made: &Made, text: &mut String) {
    if !made.routes.iter().any(|route| route.ruled) {
        return;
    }
    text.push_str("\n[auth]\n");
    keys(text, &made.auth);
    for rule in &made.rules {
        let _ = write!(text, "\n[[auth.rule]]\n");
        if rule.repositories != "**" {
            key(text, "repositories", &quoted(&rule.repositories), "");
        }
        key(text, "who", &list([rule.said.who]), &rule.from);
        key(text, if rule.said.allow { "allow" } else { "deny" }, &list(&rule.said.words), "");
        if !rule.hosts.is_empty() {
            key(text, "hosts", &list(&rule.hosts), "server_name");
        }
        if !rule.said.from.is_empty() {
            key(text, "from", &list(rule.said.from.iter().map(ToString::to_string)), "");
        }
    }
    text.push('\n');
    OPERATORS.iter().for_each(|line| wrapped(text, line));
}

/// One that no listener and no peer on this machine has.
fn admin_port(made: &Made) -> u16 {
    let listened = made.listeners.iter().filter_map(|listener| Some(listener.address.tcp()?.port()));
    let peers = made.backends.iter().flat_map(|backend| &backend.peers);
    let peers = peers.filter_map(|peer| peer.address.rsplit_once(':')?.1.parse::<u16>().ok());
    port_beside(&listened.chain(peers).collect::<Vec<_>>())
}
