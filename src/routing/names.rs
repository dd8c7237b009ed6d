//! What a name in a request means where registries are mirrored: one canonical name, `PATH/REPOSITORY`, whether it was asked for by
//! `?ns=`, by its path, or at a host that stands for one remote. Routes, rules, scopes, logs and storage know no other.

use crate::oci::RepositoryName;
use crate::remote::RemoteNames;

/// The names of all remotes of a configuration.
#[derive(Default)]
pub struct Names {
    /// By name of the remote; the longest path first, so that the first that fits is the right one.
    remotes: Vec<(String, RemoteNames)>,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// No remote has to do with it.
    AsAsked,
    /// It is this name, and that remote's.
    Canonical { name: RepositoryName, remote: &'a str },
    /// `ns` names a registry that is not mirrored here.
    Undeclared,
    /// `ns` says one remote, and the name another.
    Contradiction,
    /// With the remote's path before it, it is longer than a name may be.
    TooLong,
}

impl Names {
    pub fn new<'a>(remotes: impl Iterator<Item = (&'a str, &'a RemoteNames)>) -> Self {
        let mut remotes: Vec<_> = remotes.map(|(remote, names)| (remote.to_owned(), names.clone())).collect();
        remotes.sort_by_key(|(_, names)| std::cmp::Reverse(names.path.len()));
        Names { remotes }
    }

    /// No registry is mirrored, so that every name means itself.
    pub fn is_empty(&self) -> bool {
        self.remotes.is_empty()
    }

    /// The remote that `?ns=` says.
    pub fn declared(&self, ns: &str) -> Option<&str> {
        self.by_namespace(ns).map(|(remote, _)| remote)
    }

    /// The remote that a canonical name is of.
    pub fn owner(&self, canonical: &RepositoryName) -> Option<&str> {
        self.below_a_path(canonical).map(|(remote, _, _)| remote)
    }

    /// What `asked` means in a request with that `ns`. `at_host` says which remote the host stands for as far as this name goes; it
    /// is asked last, where nothing else tells.
    pub fn meaning<'a>(
        &'a self,
        asked: &RepositoryName,
        ns: Option<&str>,
        at_host: impl FnOnce() -> Option<&'a str>,
    ) -> Meaning<'a> {
        if self.is_empty() {
            return Meaning::AsAsked;
        }
        let below = self.below_a_path(asked);
        let (remote, names, name) = match (ns, below) {
            (Some(ns), below) => match (self.by_namespace(ns), below) {
                (None, _) => return Meaning::Undeclared,
                (Some((remote, _)), Some((other, ..))) if remote != other => return Meaning::Contradiction,
                (Some((remote, names)), Some((.., rest))) => (remote, names, rest),
                (Some((remote, names)), None) => (remote, names, asked.clone()),
            },
            (None, Some(below)) => below,
            (None, None) => match at_host().and_then(|remote| self.by_name(remote)) {
                Some((remote, names)) => (remote, names, asked.clone()),
                None => return Meaning::AsAsked,
            },
        };
        let Some(canonical) = names.canonical(&name) else { return Meaning::TooLong };
        // A remote may have repositories below what is another's path here: that other one has the name.
        match self.owner(&canonical) {
            Some(owner) if owner == remote => Meaning::Canonical { name: canonical, remote },
            _ => Meaning::Contradiction,
        }
    }

    fn by_namespace(&self, ns: &str) -> Option<(&str, &RemoteNames)> {
        let found = self.remotes.iter().find(|(_, names)| names.is_called(ns));
        found.map(|(remote, names)| (remote.as_str(), names))
    }

    fn by_name(&self, remote: &str) -> Option<(&str, &RemoteNames)> {
        let found = self.remotes.iter().find(|(known, _)| known == remote);
        found.map(|(remote, names)| (remote.as_str(), names))
    }

    /// The remote whose path a name begins with, and the rest of the name.
    fn below_a_path(&self, name: &RepositoryName) -> Option<(&str, &RemoteNames, RepositoryName)> {
        self.remotes.iter().find_map(|(remote, names)| Some((remote.as_str(), names, names.at_remote(name)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let remotes = [
            ("hub", RemoteNames::new("docker.io", None)),
            ("quay", RemoteNames::new("quay.io", None)),
            ("lab", RemoteNames::new("lab.example:5000", None)),
            ("deep", RemoteNames::new("deep.example", Some("lab.example/deep"))),
            ("short", RemoteNames::new("short.example", Some("s"))),
        ];
        Names::new(remotes.iter().map(|(remote, names)| (*remote, names)))
    }

    fn meaning(asked: &str, ns: Option<&str>, host: Option<&'static str>) -> String {
        let names = names();
        match names.meaning(&asked.parse().unwrap(), ns, || host) {
            Meaning::Canonical { name, remote } => {
                assert_eq!(names.owner(&name), Some(remote), "{name}");
                // What is canonical stays as it is, however it is asked again.
                for ns in [None, ns] {
                    let again = names.meaning(&name, ns, || panic!("the host is not asked"));
                    assert_eq!(again, Meaning::Canonical { name: name.clone(), remote }, "{ns:?}");
                }
                format!("{remote}: {name}")
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_namespace_says_the_remote() {
        for (asked, ns, meant) in [
            ("library/alpine", "docker.io", "hub: docker.io/library/alpine"),
            ("alpine", "docker.io", "hub: docker.io/library/alpine"),
            ("grafana/loki", "index.docker.io", "hub: docker.io/grafana/loki"),
            ("grafana/loki", "registry-1.docker.io", "hub: docker.io/grafana/loki"),
            ("grafana/loki", "Docker.IO", "hub: docker.io/grafana/loki"),
            ("docker.io/library/alpine", "docker.io", "hub: docker.io/library/alpine"),
            ("docker.io/alpine", "docker.io", "hub: docker.io/library/alpine"),
            ("alpine", "quay.io", "quay: quay.io/alpine"),
            ("quay.io/a/b", "quay.io", "quay: quay.io/a/b"),
            ("a/b", "lab.example:5000", "lab: lab.example/a/b"),
            ("lab.example/a/b", "lab.example:5000", "lab: lab.example/a/b"),
            ("a", "deep.example", "deep: lab.example/deep/a"),
            ("a", "short.example", "short: s/a"),
        ] {
            assert_eq!(meaning(asked, Some(ns), None), meant, "{asked} of {ns}");
            assert_eq!(meaning(asked, Some(ns), Some("quay")), meant, "{asked} of {ns}: the host has nothing to say");
        }
    }

    #[test]
    fn an_undeclared_namespace_means_nothing() {
        for ns in ["ghcr.io", "lab.example", "lab.example:5001", "", "docker.io:443", "hub", "docker.io/library"] {
            assert_eq!(meaning("a/b", Some(ns), Some("hub")), "Undeclared", "{ns}");
            assert_eq!(meaning("docker.io/a/b", Some(ns), Some("hub")), "Undeclared", "{ns}");
        }
    }

    #[test]
    fn a_namespace_and_a_path_may_agree_and_never_contradict() {
        for (asked, ns) in [
            ("docker.io/library/alpine", "quay.io"),
            ("quay.io/a", "docker.io"),
            ("s/a", "docker.io"),
            // Both are ways to a name that is another remote's here.
            ("deep/a", "lab.example:5000"),
            ("lab.example/deep/a", "lab.example:5000"),
            ("lab.example/a", "deep.example"),
        ] {
            assert_eq!(meaning(asked, Some(ns), None), "Contradiction", "{asked} of {ns}");
        }
    }

    #[test]
    fn a_path_says_the_remote_and_the_longest_path_wins() {
        for (asked, meant) in [
            ("docker.io/library/alpine", "hub: docker.io/library/alpine"),
            ("docker.io/alpine", "hub: docker.io/library/alpine"),
            ("quay.io/alpine", "quay: quay.io/alpine"),
            ("lab.example/a", "lab: lab.example/a"),
            ("lab.example/deep/a", "deep: lab.example/deep/a"),
            ("lab.example/deeper/a", "lab: lab.example/deeper/a"),
            ("lab.example/deep", "lab: lab.example/deep"),
            ("s/a/b", "short: s/a/b"),
        ] {
            assert_eq!(meaning(asked, None, None), meant, "{asked}");
            assert_eq!(meaning(asked, None, Some("quay")), meant, "{asked}: a path goes before the host");
        }
        for other in ["library/alpine", "docker.iox/a", "docker.io", "sa/b", "ghcr.io/a/b", "x/docker.io/a"] {
            assert_eq!(meaning(other, None, None), "AsAsked", "{other}");
        }
    }

    #[test]
    fn a_host_may_stand_for_one_remote() {
        for (asked, host, meant) in [
            ("library/alpine", "hub", "hub: docker.io/library/alpine"),
            ("alpine", "hub", "hub: docker.io/library/alpine"),
            ("docker.io", "hub", "hub: docker.io/library/docker.io"),
            ("ghcr.io/a/b", "hub", "hub: docker.io/ghcr.io/a/b"),
            ("a", "lab", "lab: lab.example/a"),
            ("deep/a", "lab", "Contradiction"),
            ("a", "nobody", "AsAsked"),
        ] {
            let host: &'static str = host;
            assert_eq!(meaning(asked, None, Some(host)), meant, "{asked} at {host}");
        }
    }

    #[test]
    fn a_name_that_grows_too_long_is_told_so() {
        let longest = "a".repeat(255);
        for (ns, host) in [(Some("quay.io"), None), (None, Some("quay"))] {
            assert_eq!(meaning(&longest, ns, host), "TooLong");
            assert_eq!(meaning(&longest[..247], ns, host), format!("quay: quay.io/{}", &longest[..247]));
        }
        let hub = format!("docker.io/{}", "a".repeat(240));
        assert_eq!(meaning(&hub, None, None), "TooLong", "library/ comes into it");
    }

    #[test]
    fn without_remotes_every_name_and_namespace_is_as_asked() {
        let names = Names::default();
        for ns in [None, Some("docker.io")] {
            assert_eq!(names.meaning(&"docker.io/alpine".parse().unwrap(), ns, || Some("hub")), Meaning::AsAsked);
        }
    }
}
