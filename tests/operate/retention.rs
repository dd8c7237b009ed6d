//! `entrepot retention`, as a person uses it. What policies keep is tested elsewhere.

use super::world::{Kept, on, tags};
use crate::harness::eventually;

const POLICY: &str = "[{ repositories = \"dev/**\", keep = { latest_pushed = 2 }, most = \"50%\" }]";

fn push(kept: &Kept, name: &str, seed: u64) {
    for number in 0..3 {
        kept.repository(name).push_random(&format!("t{number}"), seed + number, 5_000);
    }
}

#[test]
fn without_a_policy_nothing_goes() {
    let kept = Kept::new();
    push(&kept, "dev/app", 1);
    for arguments in [&["retention", "plan"][..], &["retention", "run", "--yes"]] {
        for more in [&[][..], &["--no-server"]] {
            let said = on(&kept.server, &[arguments, more].concat()).badly();
            assert!(said.contains("there is no [[retention]]"), "{said}");
        }
    }
    assert_eq!(tags(&kept.server, "dev/app").len(), 3);
}

#[test]
fn a_policy_is_shown_before_it_acts_and_what_went_comes_back() {
    let mut kept = Kept::start(|setup| setup.set("retention", POLICY));
    for (name, running) in [("dev/app", true), ("dev/other", false)] {
        push(&kept, name, 1);
        if !running {
            kept.server.kill();
        }
        let only = ["--repositories", name];
        let said = on(&kept.server, &[&["retention", "plan"][..], &only].concat()).well();
        assert!(said.contains("delete  ") && said.contains("1 of 3 tags in 1 repository would go\n"), "{said}");
        if running {
            // What is shown of some repositories is not shown of the others.
            for shows in [&only[..], &[]] {
                let told = on(&kept.server, &[&["retention", "run", "--force", "--json"][..], shows].concat());
                let only_shown = told.json()["only_shown"].as_bool();
                assert_eq!((told.code, only_shown), (Some(0), Some(true)), "the first run only shows");
            }
        }
        let told = on(&kept.server, &[&["retention", "run", "--force", "--json"][..], &only].concat());
        assert_eq!(told.code, Some(0), "{told:?}");
        assert_eq!(told.err.contains("no server answers at "), !running, "{told:?}");
        for order in ["plan", "run"] {
            let said = on(&kept.server, &["retention", order, "--repositories", "nosuch/**"]).badly();
            assert!(said.contains("no repository that a policy is about matches 'nosuch/**'"), "{said}");
        }
        let said = on(&kept.server, &["gc", "undelete", name]).well();
        assert!(said.contains("1 tag,"), "{said}");
        on(&kept.server, &[&["retention", "run", "--force"][..], &only].concat()).well();
        if !running {
            kept.server.restart();
        }
        eventually("one is gone", || tags(&kept.server, name).len() == 2);
    }
}
