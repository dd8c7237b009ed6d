//! The readers of bytes from outside that are no room's alone to test: what must hold for each, whatever comes in. Two callers:
//! `cargo test`, with seeds that are damaged, and libFuzzer (fuzz/rooms), which sees this room with `--cfg fuzzing` only.
//! The parsers of `oci` have a crate of their own (fuzz), which is built in half a minute.

/// A reader under test: its name, its property, and inputs that it should see first.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Inputs, each behind a line `---`.
    pub seeds: &'static str,
}

macro_rules! targets {
    ($($name:ident = $run:path),+ $(,)?) => {
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            run: $run,
            seeds: include_str!(concat!("../fuzz/rooms/seeds/", stringify!($name))),
        }),+];
    };
}

targets!(
    head = crate::listener::fuzz::head,
    chunked = crate::listener::fuzz::chunked,
    trailer = crate::cache::fuzz::trailer,
    journal = crate::verdicts::fuzz::journal,
    upload_state = crate::uploads::fuzz::state,
    config = crate::config::fuzz::config,
    authorization = crate::auth::fuzz::authorization,
    scope = crate::auth::fuzz::scope,
    token_form = crate::auth::fuzz::token_form,
    jwt = crate::auth::fuzz::jwt,
    htpasswd = crate::auth::fuzz::htpasswd,
    rules = crate::auth::fuzz::rules,
    robot_secret = crate::auth::fuzz::secret,
    token_keys = crate::auth::fuzz::keys,
    challenge = crate::remote::fuzz::challenges,
    token_answer = crate::remote::fuzz::token,
    rate_limit = crate::remote::fuzz::rate_limit,
    link = crate::mirror::fuzz::link,
    ns = crate::routing::fuzz::ns,
    nginx = crate::cli::fuzz::nginx,
);

/// Runs the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    if let Some(target) = TARGETS.iter().find(|target| target.name == name) {
        (target.run)(bytes);
    }
}

/// The seeds of a target, as bytes. `\r`, `\n` and `\xHH` stand for those bytes, and a line's end for nothing.
pub fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = target.seeds.split("---\n").filter(|seed| !seed.is_empty()).map(unescaped).collect();
    if target.name == "trailer" {
        seeds.push(crate::cache::fuzz::trailer_seed());
    }
    seeds
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'\\', [b'r', after @ ..]) => (bytes.push(b'\r'), rest = after).1,
            (b'\\', [b'n', after @ ..]) => (bytes.push(b'\n'), rest = after).1,
            (other, _) => bytes.push(*other),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs for each reader in an ordinary `cargo test`; `PROPTEST_CASES` asks for more.
    const CASES: u32 = 300;

    /// What one damage does: at a place, taken modulo the length, so many bytes go, and these come.
    type Damage = (usize, usize, Vec<u8>);

    fn damaged(mut bytes: Vec<u8>, damages: Vec<Damage>) -> Vec<u8> {
        for (at, gone, come) in damages {
            let at = at % (bytes.len() + 1);
            let end = (at + gone).min(bytes.len());
            bytes.splice(at..end, come);
        }
        bytes
    }

    #[test]
    fn seeds_are_read_as_they_are() {
        for target in TARGETS {
            let seeds = seeds(target);
            assert!(!seeds.is_empty(), "{}", target.name);
            seeds.iter().for_each(|seed| (target.run)(seed));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]
        #[test]
        fn damaged_input_is_refused_or_read_but_breaks_nothing(
            which in any::<usize>(),
            damages in proptest::collection::vec((any::<usize>(), 0usize..9, proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'"'), Just(b':'), any::<u8>()], 0..6)), 0..6),
        ) {
            for target in TARGETS {
                let seeds = seeds(target);
                (target.run)(&damaged(seeds[which % seeds.len()].clone(), damages.clone()));
            }
        }
    }
}
