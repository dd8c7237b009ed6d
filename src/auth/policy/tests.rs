//! The decision, case by case.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::auth::config::Config;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn policy(text: &str) -> Policy {
    let config: Config = toml::from_str(text).unwrap();
    Policy::new(&config).unwrap()
}

fn decide(policy: &Policy, identity: &Identity, permission: Permission, repository: &str) -> Decision {
    decide_at(policy, identity, permission, repository, ("registry.example.com", HERE))
}

fn decide_at(
    policy: &Policy,
    identity: &Identity,
    permission: Permission,
    repository: &str,
    (host, address): (&str, IpAddr),
) -> Decision {
    let asker = Asker { identity, host, address };
    policy.decide(&asker, permission, Asked::In(&repository.parse().unwrap()))
}

fn robot(name: &str, repositories: &[&str], allow: &[Permission]) -> Identity {
    let repositories: Vec<String> = repositories.iter().map(ToString::to_string).collect();
    Identity::robot(name, "id", Reach::new(&repositories, Permissions::of(allow)).unwrap())
}

#[test]
fn two_rules_are_enough_for_open_pulls_and_pushes_by_login() {
    let policy = policy(
        "[[rule]]\nwho = [\"anonymous\"]\nallow = [\"pull\"]\n\
         [[rule]]\nwho = [\"authenticated\"]\nallow = [\"push\", \"overwrite\"]\n",
    );
    assert!(policy.needs_login());
    let (nobody, alice) = (Identity::Anonymous, Identity::user("alice"));
    for (who, permission, allowed) in [
        (&nobody, Permission::Pull, true),
        (&nobody, Permission::Push, false),
        (&nobody, Permission::Overwrite, false),
        (&nobody, Permission::Delete, false),
        (&nobody, Permission::Catalog, false),
        (&alice, Permission::Pull, true),
        (&alice, Permission::Push, true),
        (&alice, Permission::Overwrite, true),
        (&alice, Permission::Delete, false),
        (&alice, Permission::Admin, false),
    ] {
        assert_eq!(decide(&policy, who, permission, "a/b").allowed, allowed, "{who} {permission}");
    }
}

#[test]
fn without_rules_who_has_logged_in_may_do_all_but_administer() {
    let policy = policy("");
    for permission in Permission::ALL {
        let decision = decide(&policy, &Identity::user("a"), permission, "x");
        assert_eq!(decision.allowed, permission != Permission::Admin);
        assert!(!decide(&policy, &Identity::Anonymous, permission, "x").allowed);
    }
}

#[test]
fn nobody_is_asked_to_log_in_where_everybody_may_do_everything() {
    let all = "[\"push\", \"overwrite\", \"delete\", \"catalog\"]";
    let with = |more: &str| policy(&format!("[[rule]]\nwho = [\"*\"]\nallow = {all}\n{more}")).needs_login();
    assert!(!with(""));
    assert!(
        with("hosts = [\"a.example\"]\n") && with("from = [\"10.0.0.0/8\"]\n") && with("repositories = \"a/**\"\n")
    );
    assert!(with("[[rule]]\nwho = [\"anonymous\"]\ndeny = [\"delete\"]\n"));
    assert!(policy("[[rule]]\nwho = [\"*\"]\nallow = [\"pull\", \"push\"]\n").needs_login());
}

#[test]
fn a_denial_wins_wherever_it_stands() {
    for order in [[0, 1], [1, 0]] {
        let rules = [
            "[[rule]]\nwho = [\"*\"]\nallow = [\"pull\", \"push\"]\n",
            "[[rule]]\nrepositories = \"secret/**\"\nwho = [\"user:eve\"]\ndeny = [\"pull\"]\n",
        ];
        let policy = policy(&order.map(|index| rules[index]).concat());
        let denied = decide(&policy, &Identity::user("eve"), Permission::Pull, "secret/a");
        assert_eq!(
            denied,
            Decision { allowed: false, why: Why::Rule(order.iter().position(|rule| *rule == 1).unwrap()) }
        );
        assert!(decide(&policy, &Identity::user("eve"), Permission::Pull, "open/a").allowed);
        assert!(decide(&policy, &Identity::user("ann"), Permission::Pull, "secret/a").allowed);
    }
}

#[test]
fn logging_in_takes_nothing_away() {
    let policy = policy("[[rule]]\nrepositories = \"public/**\"\nwho = [\"anonymous\"]\nallow = [\"pull\"]\n");
    // A robot may be allowed more, so clients are asked to log in all the same.
    assert!(policy.needs_login());
    for who in [Identity::Anonymous, Identity::user("a"), robot("r", &["x"], &[])] {
        assert!(decide(&policy, &who, Permission::Pull, "public/a").allowed, "{who}");
        assert!(!decide(&policy, &who, Permission::Pull, "private/a").allowed, "{who}");
    }
}

#[test]
fn what_is_denied_to_who_has_not_logged_in_is_not_denied_to_others() {
    let policy = policy(
        "[[rule]]\nwho = [\"*\"]\nallow = [\"pull\"]\n\
         [[rule]]\nrepositories = \"members/**\"\nwho = [\"anonymous\"]\ndeny = [\"pull\"]\n",
    );
    assert!(!decide(&policy, &Identity::Anonymous, Permission::Pull, "members/a").allowed);
    assert!(decide(&policy, &Identity::user("a"), Permission::Pull, "members/a").allowed);
}

#[test]
fn a_robot_may_what_it_was_made_for() {
    let policy = policy(
        "[[rule]]\nwho = [\"authenticated\"]\nallow = [\"pull\", \"push\", \"delete\"]\n\
         [[rule]]\nrepositories = \"extra/**\"\nwho = [\"robot:ci\"]\nallow = [\"pull\"]\n\
         [[rule]]\nrepositories = \"team/frozen\"\nwho = [\"authenticated\"]\ndeny = [\"push\"]\n",
    );
    let ci = robot("ci", &["team/**"], &[Permission::Push]);
    let why = |permission, repository| decide(&policy, &ci, permission, repository);
    assert_eq!(why(Permission::Push, "team/a"), Decision { allowed: true, why: Why::Robot });
    assert_eq!(why(Permission::Pull, "team/a"), Decision { allowed: true, why: Why::Robot });
    assert_eq!(why(Permission::Delete, "team/a"), Decision { allowed: false, why: Why::Nothing });
    assert_eq!(why(Permission::Pull, "other/a"), Decision { allowed: false, why: Why::Nothing });
    assert_eq!(why(Permission::Pull, "extra/a"), Decision { allowed: true, why: Why::Rule(1) });
    assert_eq!(why(Permission::Push, "team/frozen"), Decision { allowed: false, why: Why::Rule(2) });
}

#[test]
fn names_of_different_kinds_do_not_meet() {
    let policy = policy(
        "[[rule]]\nwho = [\"user:ci\"]\nallow = [\"delete\"]\n[groups]\nops = [\"ann\", \"robot:fix\"]\n\
         [[rule]]\nwho = [\"group:ops\"]\nallow = [\"push\"]\n",
    );
    assert!(decide(&policy, &Identity::user("ci"), Permission::Delete, "a").allowed);
    assert!(!decide(&policy, &robot("ci", &[], &[]), Permission::Delete, "a").allowed);
    assert!(decide(&policy, &Identity::user("ann"), Permission::Push, "a").allowed);
    assert!(decide(&policy, &robot("fix", &[], &[]), Permission::Push, "a").allowed);
    assert!(!decide(&policy, &Identity::user("fix"), Permission::Push, "a").allowed);
}

#[test]
fn hosts_and_networks_narrow_a_rule() {
    let policy = policy(
        "[[rule]]\nwho = [\"anonymous\"]\nallow = [\"pull\"]\nhosts = [\"*.Example.com\"]\nfrom = [\"10.0.0.0/8\", \"fd00::/8\"]\n",
    );
    // Some are asked to log in, since not everybody may.
    assert!(policy.needs_login());
    let at = |host, address: &str| {
        decide_at(&policy, &Identity::Anonymous, Permission::Pull, "a", (host, address.parse().unwrap())).allowed
    };
    assert!(
        at("r.example.com", "10.1.2.3") && at("r.example.com", "fd00::1") && at("r.example.com", "::ffff:10.1.2.3")
    );
    assert!(!at("example.com", "10.1.2.3") && !at("a.b.example.com", "10.1.2.3") && !at("", "10.1.2.3"));
    assert!(!at("r.example.com", "11.1.2.3") && !at("r.example.com", "::1"));
}

#[test]
fn a_pattern_is_no_prefix() {
    let policy = policy("[[rule]]\nrepositories = \"a/b\"\nwho = [\"*\"]\nallow = [\"pull\"]\n");
    let allowed = |name| decide(&policy, &Identity::Anonymous, Permission::Pull, name).allowed;
    assert!(allowed("a/b") && !allowed("a/bc") && !allowed("a/b/c") && !allowed("a") && !allowed("x/a/b"));
}

#[test]
fn anywhere_asks_whether_any_repository_is_worth_asking_about() {
    let policy = policy("[[rule]]\nrepositories = \"a/**\"\nwho = [\"user:a\"]\nallow = [\"catalog\"]\n");
    let anywhere = |identity: &Identity| {
        let asker = Asker { identity, host: "", address: HERE };
        policy.decide(&asker, Permission::Catalog, Asked::Anywhere).allowed
    };
    assert!(anywhere(&Identity::user("a")) && !anywhere(&Identity::user("b")) && !anywhere(&Identity::Anonymous));
}

#[test]
fn who_is_nobody_is_told() {
    for who in ["", "alice", "user:", "group:", "User:alice", "robot", "everybody", "**"] {
        let config: Config = toml::from_str(&format!("[[rule]]\nwho = [{who:?}]\nallow = [\"pull\"]\n")).unwrap();
        assert!(matches!(Policy::new(&config), Err((0, RuleError::Who(_)))), "{who}");
    }
    let config: Config = toml::from_str("[[rule]]\nrepositories = \"[a\"\nwho = [\"*\"]\n").unwrap();
    assert!(matches!(Policy::new(&config), Err((0, RuleError::Glob(..)))));
}

/// The whole table for small rules: each decision is what the sentences at the top of the file say.
#[test]
fn every_combination_of_two_rules() {
    let whos = ["anonymous", "authenticated", "user:a", "robot:r", "*"];
    let askers = [Identity::Anonymous, Identity::user("a"), Identity::user("b"), robot("r", &["x"], &[])];
    let allowed_by = |who: &str, asker: &Identity| match who {
        "anonymous" | "*" => true,
        "authenticated" => matches!(asker.known(), Some(known) if known.kind != Kind::Robot),
        name => asker.to_string() == name,
    };
    let denied_by = |who: &str, asker: &Identity| match who {
        "anonymous" => asker.is_anonymous(),
        "authenticated" => !asker.is_anonymous(),
        "*" => true,
        name => asker.to_string() == name,
    };
    let mut count = 0;
    for allow in whos {
        for deny in whos {
            for (first, second) in [("x", "x"), ("x", "y"), ("y", "x")] {
                let rules = policy(&format!(
                    "[[rule]]\nrepositories = \"{first}\"\nwho = [\"{allow}\"]\nallow = [\"pull\"]\n\
                     [[rule]]\nrepositories = \"{second}\"\nwho = [\"{deny}\"]\ndeny = [\"pull\"]\n"
                ));
                for asker in &askers {
                    let expected =
                        first == "x" && allowed_by(allow, asker) && !(second == "x" && denied_by(deny, asker));
                    let found = decide(&rules, asker, Permission::Pull, "x").allowed;
                    assert_eq!(found, expected, "{allow} on {first}, deny {deny} on {second}: {asker}");
                    count += 1;
                }
            }
        }
    }
    assert_eq!(count, 300);
}

#[test]
fn a_workload_is_named_as_a_user_is_and_is_in_the_groups_of_its_entry() {
    let policy = policy(
        "[groups]\nnamed = [\"gh:7\"]\nworded = [\"workload:gh:7\"]\nrobots = [\"robot:gh:7\"]\n\
         [[rule]]\nrepositories = \"a\"\nwho = [\"user:gh:7\"]\nallow = [\"pull\"]\n\
         [[rule]]\nrepositories = \"b\"\nwho = [\"workload:gh:7\"]\nallow = [\"pull\"]\n\
         [[rule]]\nrepositories = \"c\"\nwho = [\"group:ci\"]\nallow = [\"pull\"]\n\
         [[rule]]\nrepositories = \"d\"\nwho = [\"group:named\"]\nallow = [\"pull\"]\n\
         [[rule]]\nrepositories = \"e\"\nwho = [\"group:worded\"]\nallow = [\"pull\"]\n\
         [[rule]]\nrepositories = \"f\"\nwho = [\"authenticated\"]\nallow = [\"pull\"]\n\
         [[rule]]\nrepositories = \"g\"\nwho = [\"robot:gh:7\", \"group:robots\", \"group:ci2\"]\nallow = [\"pull\"]\n",
    );
    let groups = ["ci".to_owned()];
    let (seven, eight) = (Identity::workload("gh:7", Some("v"), &groups), Identity::workload("gh:8", None, &groups));
    let robot = robot("gh:7", &[], &[]);
    let may = |who: &Identity| -> String {
        let all = ["a", "b", "c", "d", "e", "f", "g"].into_iter();
        all.filter(|name| decide(&policy, who, Permission::Pull, name).allowed).collect()
    };
    assert_eq!((may(&seven).as_str(), may(&eight).as_str(), may(&robot).as_str()), ("abcdef", "cf", "g"));
    assert_eq!(may(&Identity::Anonymous), "");
}

/// Who administers some repositories does not administer the service.
#[test]
fn everywhere_is_more_than_anywhere() {
    let rule = |repositories: &str, verb: &str| {
        format!("[[rule]]\nrepositories = \"{repositories}\"\nwho = [\"user:a\"]\n{verb} = [\"admin\"]\n")
    };
    let everywhere = |text: &str| {
        let asker = Asker { identity: &Identity::user("a"), host: "h", address: HERE };
        policy(text).decide(&asker, Permission::Admin, Asked::Everywhere).allowed
    };
    assert!(everywhere(&rule("**", "allow")));
    assert!(!everywhere(&rule("team/**", "allow")) && !everywhere(&rule("*", "allow")) && !everywhere(""));
    assert!(!everywhere(&format!("{}{}", rule("**", "allow"), rule("prod/**", "deny"))));
    let robot = robot("r", &["**"], &[Permission::Pull]);
    let asker = Asker { identity: &robot, host: "h", address: HERE };
    assert!(!policy("").decide(&asker, Permission::Pull, Asked::Everywhere).allowed);
}
