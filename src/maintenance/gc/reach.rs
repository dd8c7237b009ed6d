//! What of a repository is needed: a decision about values, without any storage.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::time::is_past;
use super::view::View;
use crate::oci::{Digest, Tag};
use crate::storage::References;

/// Links whose bytes are under another digest than that of their path.
pub type Aliases = HashMap<Digest, Digest>;

/// Where needs begin, where not every manifest is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// What tags lead to, what is young, and what was pulled.
    pub manifests: HashSet<Digest>,
    /// What tags lead to that lists, or is, what is about a manifest (`sha256-<hex>`, `sha256-<hex>.sig`): such a tag keeps what it
    /// leads to, but not the manifest that this is about, which would never go otherwise.
    pub about: HashSet<Digest>,
}

/// What is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Manifests that stay.
    pub manifests: HashSet<Digest>,
    /// What these name, and where that is.
    pub named: HashSet<Digest>,
}

/// Links that nothing needs, or that were taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unneeded {
    pub layers: Vec<Digest>,
    pub manifests: Vec<Digest>,
}

impl Unneeded {
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty() && self.manifests.is_empty()
    }
}

impl Reach {
    /// Where every manifest is needed, because it is there.
    pub fn of_all(view: &View, references: &References, aliases: &Aliases) -> Self {
        let manifests: HashSet<Digest> = view.revisions.iter().map(|(digest, _)| *digest).collect();
        let named = manifests.iter().filter_map(|digest| references.get(digest)).flat_map(|refers| &refers.names);
        let named = named.copied().collect();
        Reach { manifests, named }.through(aliases)
    }

    /// What is needed because something else is: an index needs what it lists, an image what is about it, whatever is needed what it
    /// names.
    pub fn from(view: &View, references: &References, aliases: &Aliases, roots: &Roots) -> Self {
        let mut about: HashMap<Digest, Vec<Digest>> = HashMap::new();
        for (digest, _) in &view.revisions {
            if let Some(subject) = references.get(digest).and_then(|refers| refers.subject) {
                about.entry(subject).or_default().push(*digest);
            }
        }
        // With each, whether what it is about is needed for its sake.
        let roots =
            roots.manifests.iter().map(|root| (*root, true)).chain(roots.about.iter().map(|root| (*root, false)));
        let mut waiting: Vec<(Digest, bool)> = roots.collect();
        let mut reached: HashMap<Digest, bool> = HashMap::new();
        let mut named = HashSet::new();
        while let Some((digest, follows)) = waiting.pop() {
            let before = reached.get(&digest).copied();
            if view.revision(&digest).is_none() || before.is_some_and(|before| before || !follows) {
                continue;
            }
            reached.insert(digest, follows);
            let refers = references.get(&digest);
            let subject = refers.and_then(|refers| refers.subject).filter(|_| !follows);
            for name in refers.iter().flat_map(|refers| &refers.names).filter(|name| Some(**name) != subject) {
                named.insert(*name);
                waiting.push((*name, follows));
            }
            waiting.extend(about.get(&digest).into_iter().flatten().map(|referrer| (*referrer, false)));
        }
        Reach { manifests: reached.into_keys().collect(), named }.through(aliases)
    }

    /// What a needed link leads to is needed as well: distribution writes a link for each of the two digests.
    fn through(mut self, aliases: &Aliases) -> Self {
        let needed = |digest: &&Digest| self.named.contains(digest) || self.manifests.contains(digest);
        let targets: Vec<Digest> = aliases.iter().filter(|(link, _)| needed(link)).map(|(_, target)| *target).collect();
        self.named.extend(targets);
        self
    }

    /// Links that nothing needs and that were written longer than `grace` ago. Younger ones may be of a push under way: blobs come
    /// before the manifest that names them, mounts write a link, and so does who uploads what is there already.
    pub fn unneeded(&self, view: &View, grace: Duration, now: SystemTime) -> Unneeded {
        let old = |links: &[(Digest, SystemTime)], needed: &HashSet<Digest>| -> Vec<Digest> {
            let old =
                links.iter().filter(|(digest, changed)| !needed.contains(digest) && is_past(*changed, grace, now));
            old.map(|(digest, _)| *digest).collect()
        };
        Unneeded { layers: old(&view.layers, &self.named), manifests: old(&view.revisions, &self.manifests) }
    }
}

/// Whether a tag is one that says by its name what it is about: of the list of referrers that clients write for registries without
/// one, and of cosign's signatures, attestations and bills of materials.
pub fn is_about(tag: &Tag) -> bool {
    let hash = ["sha256-", "sha512-"].iter().find_map(|start| tag.as_str().strip_prefix(start));
    let Some(hash) = hash else { return false };
    // The longer hash is cut, so that it can be a tag.
    let digits = hash.bytes().take_while(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte)).count();
    digits >= 64 && hash.get(digits..).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;
    use crate::storage::Refers;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    /// A repository of manifests by name, with what they name; one that begins with '^' is the subject.
    struct Repository {
        view: View,
        references: References,
        now: SystemTime,
    }

    const OLD: Duration = Duration::from_secs(1000);

    fn repository(manifests: &[(&str, &[&str])], layers: &[&str]) -> Repository {
        let now = SystemTime::now();
        let mut view = View::empty("a".parse().unwrap());
        let mut references = References::default();
        for (name, names) in manifests {
            view.add(digest(name), true, now - OLD);
            let subject = names.iter().find_map(|name| name.strip_prefix('^')).map(digest);
            let mut names: Vec<Digest> = names.iter().map(|name| digest(name.trim_start_matches('^'))).collect();
            names.sort_unstable();
            references.insert(digest(name), Refers { names, subject, unknown: false });
        }
        layers.iter().for_each(|layer| view.add(digest(layer), false, now - OLD));
        Repository { view, references, now }
    }

    impl Repository {
        fn reach(&self, manifests: &[&str], about: &[&str]) -> Reach {
            let set = |names: &[&str]| names.iter().map(|name| digest(name)).collect();
            let roots = Roots { manifests: set(manifests), about: set(about) };
            Reach::from(&self.view, &self.references, &Aliases::new(), &roots)
        }

        /// Which of these manifests and layers go.
        fn goes<'a>(&self, reach: &Reach, all: &[&'a str]) -> Vec<&'a str> {
            let unneeded = reach.unneeded(&self.view, OLD, self.now);
            let goes =
                |name: &&&str| unneeded.layers.contains(&digest(name)) || unneeded.manifests.contains(&digest(name));
            all.iter().filter(goes).copied().collect()
        }
    }

    #[test]
    fn where_all_manifests_stay_only_layers_go_that_none_names() {
        let repository =
            repository(&[("image", &["config", "layer"]), ("other", &["layer"])], &["config", "layer", "x"]);
        let reach = Reach::of_all(&repository.view, &repository.references, &Aliases::new());
        assert_eq!(repository.goes(&reach, &["image", "other", "config", "layer", "x"]), ["x"]);
    }

    #[test]
    fn what_a_tag_leads_to_stays_with_all_that_follows() {
        let repository = repository(
            &[
                ("index", &["amd64", "arm64", "cache"]),
                ("amd64", &["layer"]),
                ("arm64", &["layer", "other"]),
                ("signature", &["payload", "^arm64"]),
                ("countersignature", &["^signature"]),
                ("untagged", &["layer", "own"]),
                ("aboutuntagged", &["^untagged", "note"]),
            ],
            &["layer", "other", "cache", "payload", "own", "note"],
        );
        let all = ["index", "amd64", "arm64", "signature", "countersignature", "untagged", "aboutuntagged"];
        let layers = ["layer", "other", "cache", "payload", "own", "note"];
        let reach = repository.reach(&["index"], &[]);
        assert_eq!(repository.goes(&reach, &all), ["untagged", "aboutuntagged"]);
        assert_eq!(repository.goes(&reach, &layers), ["own", "note"]);
        // A tag of its own on something about another keeps that one too.
        let reach = repository.reach(&["aboutuntagged"], &[]);
        assert_eq!(repository.goes(&reach, &all), ["index", "amd64", "arm64", "signature", "countersignature"]);
        assert_eq!(repository.goes(&reach, &layers), ["other", "cache", "payload"]);
    }

    #[test]
    fn what_is_listed_as_being_about_an_image_does_not_keep_it() {
        let repository = repository(
            &[("image", &["layer"]), ("list", &["signature"]), ("signature", &["payload", "^image"])],
            &["layer", "payload"],
        );
        let all = ["image", "list", "signature", "layer", "payload"];
        let reach = repository.reach(&[], &["list"]);
        assert_eq!(repository.goes(&reach, &all), ["image", "layer"]);
        assert!(!reach.named.contains(&digest("image")), "else its bytes would never go");
        // Both ways to it count.
        let reach = repository.reach(&["image"], &["list"]);
        assert_eq!(repository.goes(&reach, &all), [""; 0]);
        let reach = repository.reach(&["signature"], &["list"]);
        assert_eq!(repository.goes(&reach, &all), [""; 0]);
    }

    #[test]
    fn circles_end() {
        let repository = repository(&[("a", &["b"]), ("b", &["^a"]), ("c", &["^c"])], &[]);
        assert_eq!(repository.goes(&repository.reach(&["a"], &[]), &["a", "b", "c"]), ["c"]);
    }

    #[test]
    fn what_is_young_stays_whoever_needs_it() {
        let mut repository = repository(&[], &["old"]);
        repository.view.add(digest("young"), false, repository.now - OLD + Duration::from_secs(1));
        repository.view.add(digest("future"), false, repository.now + OLD);
        let reach = repository.reach(&[], &[]);
        assert_eq!(repository.goes(&reach, &["old", "young", "future"]), ["old"]);
    }

    #[test]
    fn a_link_to_another_digest_keeps_both() {
        let repository = repository(&[("image", &["alias"])], &["alias", "target", "alias2", "target2"]);
        let aliases = HashMap::from([(digest("alias"), digest("target")), (digest("alias2"), digest("target2"))]);
        let reach = Reach::of_all(&repository.view, &repository.references, &aliases);
        assert_eq!(repository.goes(&reach, &["alias", "target", "alias2", "target2"]), ["alias2", "target2"]);
    }

    #[test]
    fn tags_that_are_about_something_say_so() {
        let hex = "a".repeat(64);
        for (tag, about) in [
            (format!("sha256-{hex}"), true),
            (format!("sha256-{hex}.sig"), true),
            (format!("sha256-{hex}.att"), true),
            (format!("sha512-{hex}"), true),
            (format!("sha256-{hex}-x"), false),
            (format!("sha256-{}", &hex[1..]), false),
            (format!("sha1-{hex}"), false),
            ("v1".into(), false),
            (format!("sha256-{}", hex.to_uppercase()), false),
        ] {
            assert_eq!(is_about(&tag.parse().unwrap()), about, "{tag}");
        }
    }
}
