//! What clients have to be told of this address.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::finding::Findings;
use super::names::without_port;

const CHECK: &str = "clients";

/// How clients reach us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// `name` or `name:port`.
    pub address: String,
    pub tls: bool,
    /// The certificate is believed by clients that were told nothing.
    pub believed: bool,
    /// Names of registries that are mirrored here.
    pub mirrored: Vec<String>,
}

impl Reached {
    /// Docker takes these without TLS, and nobody listens between.
    fn is_near(&self) -> bool {
        let host = without_port(&self.address);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    pub fn check(&self) -> Findings {
        let mut findings = Findings::of(CHECK);
        let address = &self.address;
        match (self.tls, self.believed, self.is_near()) {
            (false, _, false) => findings.warning(
                format!("{address} is plain HTTP: passwords and images can be read and changed on the way, and docker refuses it at first"),
                "give the listener a certificate ([[listener]] tls), or tell each client that it is insecure (`--clients` shows how)",
            ),
            (false, _, true) => findings.ok(format!("{address} is plain HTTP on this machine, which clients take as it is")),
            (true, false, _) => findings.warning(
                format!("{address}: clients do not believe its certificate by themselves"),
                "give each of them the authority's certificate (`--clients` shows where)",
            ),
            (true, true, _) => findings.ok(format!("{address} needs nothing but `docker login {address}`")),
        }
        findings
    }

    fn docker(&self) -> String {
        let address = &self.address;
        let first = match (self.tls, self.believed, self.is_near()) {
            (false, _, false) => format!(
                "# /etc/docker/daemon.json, then `systemctl restart docker` (Docker Desktop: Settings, Docker Engine)\n\
                 {{ \"insecure-registries\": [\"{address}\"] }}\n"
            ),
            (true, false, _) => format!("# the authority's certificate: /etc/docker/certs.d/{address}/ca.crt\n"),
            _ => "# nothing to be set\n".to_owned(),
        };
        format!("{first}docker login {address}\ndocker push {address}/team/app:1\n")
    }

    fn containerd(&self) -> String {
        let own = self.hosts(&self.address, "\"pull\", \"resolve\", \"push\"");
        let mirrored = self.mirrored.iter().map(|registry| self.hosts(registry, "\"pull\", \"resolve\""));
        std::iter::once(own).chain(mirrored).collect::<Vec<_>>().join("\n")
    }

    /// One `hosts.toml`.
    fn hosts(&self, registry: &str, capabilities: &str) -> String {
        let (scheme, address) = (self.scheme(), &self.address);
        let ca = match (self.tls, self.believed) {
            (true, false) => format!("ca = \"/etc/containerd/certs.d/{address}/ca.crt\"\n"),
            _ => String::new(),
        };
        format!(
            "# /etc/containerd/certs.d/{registry}/hosts.toml (MicroK8s: /var/snap/microk8s/current/args/certs.d/{registry}/hosts.toml)\n\
             server = \"{scheme}://{address}\"\n[host.\"{scheme}://{address}\"]\ncapabilities = [{capabilities}]\n{ca}"
        )
    }

    fn podman(&self) -> String {
        let address = &self.address;
        let insecure = if self.tls { "" } else { "insecure = true\n" };
        let ca = match (self.tls, self.believed) {
            (true, false) => format!("# the authority's certificate: /etc/containers/certs.d/{address}/ca.crt\n"),
            _ => String::new(),
        };
        let mut text = format!(
            "# /etc/containers/registries.conf.d/entrepot.conf\n{ca}[[registry]]\nlocation = \"{address}\"\n{insecure}"
        );
        for registry in &self.mirrored {
            text += &format!(
                "[[registry]]\nprefix = \"{registry}\"\nlocation = \"{registry}\"\n[[registry.mirror]]\nlocation = \
                 \"{address}/{registry}\"\n{insecure}"
            );
        }
        format!("{text}# podman login {address}\n")
    }

    /// For people: each with its heading.
    pub fn shown(&self) -> String {
        let parts = [("docker", self.docker()), ("containerd", self.containerd()), ("podman", self.podman())];
        parts.map(|(client, text)| format!("\n== {client}\n{text}")).concat()
    }

    pub fn json(&self) -> Value {
        json!({
            "address": self.address,
            "tls": self.tls,
            "docker": self.docker(),
            "containerd": self.containerd(),
            "podman": self.podman(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn reached(address: &str, tls: bool, believed: bool) -> Reached {
        Reached { address: address.into(), tls, believed, mirrored: vec!["docker.io".into()] }
    }

    #[test]
    fn clients_are_told_what_they_need_and_no_more() {
        for (reached, level, docker, podman) in [
            (reached("registry.lab:5000", false, false), Level::Warning, "insecure-registries", "insecure = true"),
            (reached("127.0.0.1:5000", false, false), Level::Ok, "nothing to be set", "insecure = true"),
            (
                reached("registry.lab", true, false),
                Level::Warning,
                "/etc/docker/certs.d/registry.lab/ca.crt",
                "certs.d",
            ),
            (reached("registry.lab", true, true), Level::Ok, "nothing to be set", "location"),
        ] {
            assert_eq!(reached.check().found[0].level, level, "{reached:?}");
            let json = reached.json();
            assert!(json["docker"].as_str().unwrap().contains(docker), "{json}");
            assert!(json["podman"].as_str().unwrap().contains(podman), "{json}");
            assert_eq!(json["podman"].as_str().unwrap().contains("insecure"), !reached.tls);
            for text in json["containerd"].as_str().unwrap().split("\n\n") {
                text.parse::<toml::Table>().unwrap();
            }
            json["podman"].as_str().unwrap().parse::<toml::Table>().unwrap();
        }
    }

    #[test]
    fn what_is_mirrored_takes_no_pushes() {
        let text = reached("registry.lab", true, true).containerd();
        let (own, mirrored) = text.split_once("\n\n").or(text.split_once("\n# /etc")).unwrap();
        assert!(own.contains("push") && mirrored.contains("docker.io") && !mirrored.contains("push"));
    }
}
