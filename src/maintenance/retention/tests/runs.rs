//! Runs over a registry: what a client sees afterwards, and who learns of it.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;

use super::world::{World, configs, going, nobody, one};
use crate::events::{Change, Listener, What};
use crate::maintenance::day::Day;
use crate::maintenance::gc::Undelete;
use crate::maintenance::journal::{self, Kind};
use crate::maintenance::pulls::{Pulls, Recording};
use crate::maintenance::retention::state::State;
use crate::maintenance::retention::{Order, RetentionError, Step};
use crate::oci::{RepositoryName, Tag};
use crate::registry::tests::harness::{artifact, digest_of};
use crate::registry::{self, Decided};
use crate::storage::{OwnKey, Precondition, References, Refers};

const MONTH: &str = "keep = { pushed_within = \"30d\" }";

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

#[tokio::test]
async fn the_first_run_only_shows_and_the_next_one_acts() {
    let world = World::new().await;
    world.images("dev/a", &[("old", 40.0), ("new", 1.0)]).await;
    let retention = world.retention(&one(MONTH));
    let first = retention.run(&Order::default(), &nobody).await.unwrap();
    assert!(first.only_shown && first.why.as_ref().is_some_and(|why| why.contains("--yes")), "{first:?}");
    assert_eq!((going(&first), first.gone, first.run.clone()), (vec!["dev/a:old".to_owned()], 0, None));
    assert!(first.policies[0].new && first.policies[0].due && first.policies[0].goes == 1);
    assert_eq!(world.tags("dev/a").await, ["new", "old"]);
    let second = retention.run(&Order::default(), &nobody).await.unwrap();
    assert_eq!((second.only_shown, second.gone, second.policies[0].new), (false, 1, false));
    assert_eq!(world.tags("dev/a").await, ["new"]);
    let third = retention.run(&Order::default(), &nobody).await.unwrap();
    assert_eq!((third.gone, third.goes, third.run, third.kept["pushed_within"]), (0, 0, None, 1));
}

#[tokio::test]
async fn any_change_of_what_may_go_shows_it_first_again() {
    let world = World::new().await;
    world.images("a", &[("old", 40.0), ("new", 1.0)]).await;
    let run = async |entries: &str, config: &[&str]| {
        world.harness.registry.reconfigure(&registry::Config {
            immutable_tags: config.iter().map(|tag| (*tag).to_owned()).collect(),
            ..registry::Config::default()
        });
        world.retention(entries).run(&Order::default(), &nobody).await.unwrap().only_shown
    };
    let (month, more) = (one(MONTH), one("tags = \"v*\"\nkeep = { latest_pushed = 1 }"));
    assert!(run(&month, &[]).await);
    world.image("a", "older", "", 50.0).await;
    assert!(run(&one("keep = { pushed_within = \"29d\" }"), &[]).await, "it has changed itself");
    assert!(run(&format!("{month}{more}"), &[]).await, "another one has come");
    assert!(run(&month, &[]).await, "another one, which may have kept something, has gone");
    assert!(run(&month, &["**:v*"]).await, "what never moves has changed");
    assert!(run(&month, &[]).await);
    let scheduled = month.replace("most", "schedule = \"0 1 * * *\"\nmost");
    assert_eq!(world.tags("a").await, ["new", "old", "older"]);
    assert!(!run(&scheduled, &[]).await, "when it runs does not matter");
    assert_eq!(world.tags("a").await, ["new"]);
}

#[tokio::test]
async fn each_policy_is_shown_before_its_first_run() {
    let world = World::new().await;
    world.images("a/x", &[("old", 40.0), ("new", 1.0)]).await;
    world.images("b/x", &[("old", 40.0), ("new", 1.0)]).await;
    let entries = format!(
        "[[retention]]\nrepositories = \"a/**\"\nmost = \"100%\"\n{MONTH}\n[[retention]]\nrepositories = \"b/**\"\nmost = \"100%\"\n{MONTH}\n"
    );
    let run =
        async |index: usize| world.run_as(&entries, Order { policies: Some(vec![index]), ..Order::default() }).await;
    assert!(run(0).await.only_shown);
    assert_eq!(going(&run(0).await), ["a/x:old"]);
    let other = run(1).await;
    assert!(other.only_shown && going(&other) == ["b/x:old"], "{other:?}");
    assert_eq!((run(1).await.gone, world.tags("b/x").await), (1, vec!["new".to_owned()]));
    let unknown = world.retention(&entries).run(&Order { policies: Some(vec![2]), ..Order::default() }, &nobody).await;
    assert!(matches!(unknown, Err(RetentionError::Unknown(2))));
}

/// What was shown of one repository is not what would go in the others.
#[tokio::test]
async fn a_run_over_some_repositories_shows_no_policy() {
    let world = World::new().await;
    world.images("a", &[("old", 40.0), ("new", 1.0)]).await;
    world.images("b", &[("old", 40.0), ("new", 1.0)]).await;
    let entries = one(MONTH);
    let some = |yes: bool| Order { yes, repositories: Some("a".into()), ..Order::default() };
    for _ in 0..2 {
        let report = world.run_as(&entries, some(false)).await;
        assert!(report.only_shown && report.why.as_ref().is_some_and(|why| why.contains("--yes")), "{report:?}");
        assert_eq!(going(&report), ["a:old"]);
    }
    assert_eq!((world.run_as(&entries, some(true)).await.gone, world.tags("a").await), (1, vec!["new".to_owned()]));
    assert!(world.run_as(&entries, Order::default()).await.only_shown, "b has not been shown yet");
    assert_eq!(world.tags("b").await, ["new", "old"]);
    assert!(!world.run_as(&entries, some(false)).await.only_shown);
    assert_eq!(
        (world.run_as(&entries, Order::default()).await.gone, world.tags("b").await),
        (1, vec!["new".to_owned()])
    );
}

#[tokio::test]
async fn a_plan_changes_nothing() {
    let world = World::new().await;
    world.images("a", &[("old", 40.0), ("new", 1.0)]).await;
    let retention = world.retention(&one(MONTH));
    for _ in 0..2 {
        let plan = retention.plan(&Order { yes: true, force: true, ..Order::default() }, &nobody).await.unwrap();
        assert_eq!((plan.only_shown, plan.why.clone(), going(&plan)), (true, None, vec!["a:old".to_owned()]));
    }
    assert_eq!(world.tags("a").await, ["new", "old"]);
    assert_eq!(State::read(&world.harness.storage).await.unwrap(), State::default());
    assert!(retention.run(&Order::default(), &nobody).await.unwrap().only_shown, "a plan is no run");
}

#[tokio::test]
async fn without_a_policy_nothing_goes() {
    let world = World::new().await;
    world.images("a", &[("old", 4000.0), ("older", 4001.0)]).await;
    let none =
        world.try_retention(&[]).unwrap().run(&Order { yes: true, force: true, ..Order::default() }, &nobody).await;
    assert!(matches!(none, Err(RetentionError::NoPolicy)));
    assert_eq!(world.tags("a").await, ["old", "older"]);
    let bad = world.try_retention(&configs("[[retention]]\nrepositories = \"[\"\nkeep = { latest_pushed = 1 }\n"));
    assert!(bad.err().unwrap().to_string().starts_with("retention[0]: repositories '[' is no pattern"));
}

#[tokio::test]
async fn a_repository_that_would_lose_too_much_loses_nothing() {
    let world = World::new().await;
    let ten = |old: usize| -> Vec<(String, f64)> {
        (0..10).map(|number| (format!("t{number}"), if number < old { 40.0 } else { 1.0 })).collect()
    };
    for (repository, old) in [("few", 3), ("many", 4)] {
        let tags = ten(old);
        let tags: Vec<(&str, f64)> = tags.iter().map(|(tag, days)| (tag.as_str(), *days)).collect();
        world.images(repository, &tags).await;
    }
    let entries = format!("[[retention]]\nrepositories = \"**\"\n{MONTH}\n");
    let report = world.run(&entries).await;
    assert_eq!((report.gone, report.goes, report.stopped.len()), (3, 3, 1), "{report:?}");
    let stopped = &report.stopped[0];
    assert_eq!((stopped.repository.as_str(), stopped.would_go, stopped.tags, stopped.most), ("many", 4, 10, 30.0));
    assert_eq!((world.tags("few").await.len(), world.tags("many").await.len()), (7, 10));
    let forced = world.run_as(&entries, Order { yes: true, force: true, ..Order::default() }).await;
    assert_eq!((forced.gone, forced.stopped.len(), world.tags("many").await.len()), (4, 0, 6));
    // The policy may say another part.
    world.images("half", &[("a", 40.0), ("b", 1.0)]).await;
    assert_eq!(world.run(&entries).await.stopped.len(), 1);
    assert_eq!(world.run(&entries.replace("keep", "most = \"50%\"\nkeep")).await.gone, 1);
}

#[tokio::test]
async fn what_goes_is_a_tag_and_no_content() {
    let world = World::new().await;
    let old = world.image("a", "old", "", 40.0).await;
    let manifest: serde_json::Value =
        serde_json::from_slice(&world.harness.get(&format!("/v2/a/manifests/{old}")).await.body).unwrap();
    world.tag("a", "same", &manifest, 1.0).await;
    world.image("a", "alone", "", 41.0).await;
    assert_eq!(world.run(&one(MONTH)).await.gone, 2);
    assert_eq!(world.tags("a").await, ["same"]);
    assert_eq!(world.harness.status("GET", "/v2/a/manifests/same").await, 200);
    assert_eq!(world.harness.status("GET", "/v2/a/manifests/old").await, 404);
    assert_eq!(world.harness.status("GET", &format!("/v2/a/manifests/{old}")).await, 200);
}

/// Told of changes, as the audit is.
#[derive(Default)]
struct Told(Mutex<Vec<Change>>);

impl Listener for Told {
    fn changed(&self, change: &Change) {
        self.0.lock().push(change.clone());
    }
}

#[tokio::test]
async fn everybody_learns_of_it_and_the_journal_knows_it_before() {
    let world = World::new().await;
    let old = world.image("a", "old", "", 40.0).await;
    world.images("a", &[("new", 1.0)]).await;
    assert_eq!(world.tags("a").await, ["new", "old"], "a list is kept");
    world.harness.notes.take();
    let (told, steps) = (Arc::new(Told::default()), Mutex::new(Vec::new()));
    let order = Order { yes: true, kept: true, listener: Some(told.clone()), ..Order::default() };
    let tell = |step: &Step| steps.lock().push(serde_json::to_value(step).unwrap());
    let report = world.retention(&one(MONTH)).run(&order, &tell).await.unwrap();
    assert_eq!(world.tags("a").await, ["new"]);
    let deleted = What::TagDeleted { tag: "old".parse().unwrap(), old: Some(old) };
    for changes in [world.harness.notes.take(), told.0.lock().clone()] {
        assert!(
            matches!(&changes[..], [change] if change.what == deleted && change.repository == name("a")),
            "{changes:?}"
        );
    }
    assert_eq!(
        *steps.lock(),
        [
            json!({"step": "begun", "repositories": 1, "only_shown": false}),
            json!({"step": "looked", "repository": "a", "done": 1, "of": 1, "tags": 2, "goes": 1, "gone": 1}),
        ]
    );
    let run = report.run.clone().unwrap();
    assert!(run.starts_with("retention-") && journal::is_run(&run) && !journal::is_collection(&run), "{run}");
    let lines = journal::read(&world.harness.storage, &run, &name("a")).await.unwrap().unwrap();
    let lines: Vec<_> =
        lines.iter().map(|line| (line.kind, line.tag.clone(), line.target, line.changed.is_some())).collect();
    let tag = Some("old".parse().unwrap());
    assert_eq!(lines, [(Kind::TagIndex, tag.clone(), old, true), (Kind::Tag, tag, old, true)]);
    let told = serde_json::to_value(&report).unwrap();
    let lines = told["told"].as_array().unwrap();
    let of = |tag: &str| lines.iter().find(|line| line["tag"] == tag).unwrap();
    assert_eq!((&of("old")["decision"], &of("old")["digest"]), (&json!("delete"), &json!(old.text())));
    assert_eq!((&of("new")["decision"], &of("new")["rule"]), (&json!("keep"), &json!("pushed_within")));
}

#[tokio::test]
async fn the_journal_knows_all_that_a_tag_has_led_to() {
    let world = World::new().await;
    let mut led = Vec::new();
    for number in 0..3 {
        let created = format!("2026-01-0{}T00:00:00Z", number + 1);
        led.push(world.image("a", "nightly", &created, 40.0).await);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await; // a filesystem's clock is coarse
    }
    world.images("a", &[("new", 1.0)]).await;
    let run = world.run(&one(MONTH)).await.run.unwrap();
    assert_eq!(world.tags("a").await, ["new"]);
    let lines = journal::read(&world.harness.storage, &run, &name("a")).await.unwrap().unwrap();
    let lines: Vec<_> = lines.iter().map(|line| (line.kind, line.digest)).collect();
    let [first, second, last] = led[..] else { panic!("three images") };
    assert_eq!(lines, [(Kind::TagIndex, last), (Kind::TagIndex, second), (Kind::TagIndex, first), (Kind::Tag, last)]);
    world.collector().undelete(Undelete::Run(run), &()).await.unwrap();
    let files = world.harness.storage.tag_files(&name("a"), &"nightly".parse().unwrap()).await.unwrap();
    assert_eq!(files.history(&name("a"), &"nightly".parse().unwrap()).len(), 3);
}

#[tokio::test]
async fn what_a_run_took_comes_back_by_its_name() {
    let world = World::new().await;
    let old = world.image("a", "old", "", 40.0).await;
    let signature = world.tag("a", &format!("sha256-{}.sig", old.hex()), &artifact(&old, "x/y", "1"), 40.0).await;
    world.images("a", &[("moved", 40.0), ("new", 1.0)]).await;
    // The one of an image that is here stays; the one of nothing goes.
    let astray = format!("sha256-{}.sig", digest_of(&json!("gone")).hex());
    world.tag("a", &astray, &artifact(&old, "x/y", "2"), 40.0).await;
    let before: Vec<String> = world.tags("a").await;
    let report = world.run(&one(MONTH)).await;
    assert_eq!((report.gone, world.tags("a").await.len()), (3, 2));
    assert!(!world.tags("a").await.contains(&astray));
    // One of them has been pushed anew since.
    world.image("a", "moved", "2026-01-01T00:00:00Z", 0.0).await;
    let moved = world.harness.get("/v2/a/manifests/moved").await.body;
    let what = Undelete::Run(report.run.unwrap());
    world.collector().undelete(what, &()).await.unwrap();
    assert_eq!(world.tags("a").await, before);
    for (tag, digest) in [("old", old), (&format!("sha256-{}.sig", old.hex()), signature)] {
        let seen = world.harness.get(&format!("/v2/a/manifests/{tag}")).await;
        assert_eq!((seen.status.as_u16(), seen.content.map(|(digest, _)| digest)), (200, Some(digest)));
    }
    assert_eq!(world.harness.get("/v2/a/manifests/moved").await.body, moved, "what was pushed since stays");
}

#[tokio::test]
async fn tags_that_were_brought_back_are_as_old_as_they_were_until_they_are_pushed_again() {
    let world = World::new().await;
    world.images("a", &[("1", 40.0), ("2", 30.0), ("3", 2.0), ("4", 1.0)]).await;
    let rule = one("keep = { latest_pushed = 2 }");
    assert_eq!(world.run(&rule).await.gone, 2);
    for _ in 0..2 {
        assert_eq!(world.tags("a").await, ["3", "4"]);
        let restored = world.collector().undelete(Undelete::Repository(name("a")), &()).await.unwrap();
        assert_eq!((restored.tags, world.tags("a").await.len()), (2, 4));
        let report = world.run(&rule).await;
        assert_eq!((going(&report), report.gone), (vec!["a:1".to_owned(), "a:2".to_owned()], 2));
    }
    world.collector().undelete(Undelete::Repository(name("a")), &()).await.unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    std::fs::File::options().write(true).open(world.link("a", "2")).unwrap().set_modified(later).unwrap();
    world.run(&rule).await;
    assert_eq!(world.tags("a").await, ["2", "4"], "the second was pushed again");
}

#[tokio::test]
async fn immutable_tags_and_the_last_one_stay() {
    let config = registry::Config { immutable_tags: vec!["a:v*".into()], ..registry::Config::default() };
    let world = World::with(config).await;
    world.images("a", &[("v1", 90.0), ("x", 80.0)]).await;
    world.images("b", &[("v1", 90.0), ("x", 80.0)]).await;
    let report = world.run(&one(MONTH)).await;
    assert_eq!((world.tags("a").await, world.tags("b").await), (vec!["v1".to_owned()], vec!["x".to_owned()]));
    assert_eq!((report.kept["immutable"], report.kept["last_tag"], report.gone), (1, 1, 2));
    // Also when it has become immutable since.
    let decided =
        Decided { tag: "v1".parse().unwrap(), digest: digest_of(&json!(null)), changed: std::time::SystemTime::now() };
    assert!(world.harness.registry.drop_tags(&name("a"), &[decided], None).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_set_again_since_it_was_looked_at_stays() {
    let world = World::new().await;
    let digest = world.image("a", "v1", "", 40.0).await;
    let changed = std::fs::metadata(world.link("a", "v1")).unwrap().modified().unwrap();
    let tag: Tag = "v1".parse().unwrap();
    let decided = [Decided { tag: tag.clone(), digest, changed }];
    let drop = async || world.harness.registry.drop_tags(&name("a"), &decided, None).await.unwrap();
    world.image("a", "v1", "", 39.0).await;
    assert!(drop().await.is_empty(), "the same image at another time");
    std::fs::File::options().write(true).open(world.link("a", "v1")).unwrap().set_modified(changed).unwrap();
    world.harness.notes.take();
    assert_eq!(drop().await, [tag]);
    assert_eq!(world.harness.notes.take().len(), 1);
    assert!(drop().await.is_empty() && world.harness.notes.take().is_empty());
}

#[tokio::test]
async fn an_index_holds_its_images_and_signatures_stay() {
    let world = World::new().await;
    for (version, days) in [("1", 40.0), ("2", 1.0)] {
        let mut images = Vec::new();
        for platform in ["amd64", "arm64"] {
            images.push(world.image("a", &format!("{version}-{platform}"), "", 50.0).await);
        }
        let index = world.index("a", version, &images, days).await;
        for subject in images.iter().chain([&index]) {
            let signature = artifact(subject, "application/x-signature", version);
            world.tag("a", &format!("sha256-{}.sig", subject.hex()), &signature, 50.0).await;
        }
        // A name for the digest itself is a tag as any other.
        let manifest = world.harness.get(&format!("/v2/a/manifests/{index}")).await.body;
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        world.tag("a", &format!("sha256-{}", index.hex()), &manifest, 40.0).await;
    }
    assert_eq!(world.tags("a").await.len(), 14);
    let report = world.run(&one(MONTH)).await;
    let left = world.tags("a").await;
    // Of the first, all that name images; of the second, the name for its digest. What is about them stays as long as they do.
    assert_eq!((report.gone, left.len()), (5, 9), "{report:?}");
    assert!(["2", "2-amd64", "2-arm64"].iter().all(|tag| left.iter().any(|left| left == tag)), "{left:?}");
    assert_eq!((report.kept["held_by_index"], report.kept["with_subject"]), (2, 6));
}

/// What a collection has written down of a repository may be older than an image of an index that was there before.
#[tokio::test]
async fn an_index_holds_an_image_that_came_after_it() {
    let world = World::new().await;
    let image = world.image("a", "1-arm64", "", 50.0).await;
    let index = world.index("a", "1", &[image], 1.0).await;
    let mut known = References::default();
    known.insert(index, Refers { names: vec![image], ..Refers::default() });
    world.harness.storage.references_put(&name("a"), &known).await.unwrap();
    let report = world.run(&one(MONTH)).await;
    assert_eq!((report.gone, report.kept["held_by_index"]), (0, 1), "{report:?}");
}

#[tokio::test]
async fn a_signature_of_what_is_gone_goes_and_one_of_what_is_deployed_stays() {
    let world = World::new().await;
    let (deployed, gone) = (world.image("a", "deployed", "", 50.0).await, world.image("a", "gone", "", 50.0).await);
    for subject in [&deployed, &gone] {
        let signature = artifact(subject, "application/x-signature", "1");
        world.tag("a", &format!("sha256-{}.sig", subject.hex()), &signature, 2.0).await;
    }
    world.images("a", &[("main", 1.0)]).await;
    assert_eq!(world.harness.status("DELETE", &format!("/v2/a/manifests/{gone}")).await, 202);
    assert_eq!(world.harness.status("DELETE", "/v2/a/manifests/deployed").await, 202);
    let report = world.run(&one(MONTH)).await;
    assert_eq!(going(&report), [format!("a:sha256-{}.sig", gone.hex())]);
    assert_eq!(world.tags("a").await, ["main".to_owned(), format!("sha256-{}.sig", deployed.hex())]);
}

/// Nothing else goes, and no pattern matches: the list of tags alone does not say that anything does.
#[tokio::test]
async fn what_is_about_nothing_goes_whatever_a_policy_is_about() {
    let world = World::new().await;
    world.images("a", &[("main", 1.0)]).await;
    let gone = digest_of(&json!("gone")).hex();
    for (number, tag) in [format!("sha256-{gone}"), format!("sha256-{gone}.sig")].iter().enumerate() {
        let about = artifact(&digest_of(&json!("gone")), "x/y", &number.to_string());
        world.tag("a", tag, &about, 2.0).await;
        // As cosign has it where it is told to keep signatures elsewhere.
        world.tag("signatures", tag, &about, 90.0).await;
    }
    let report = world.run(&one("tags = \"v*\"\nkeep = { pushed_within = \"30d\" }")).await;
    assert_eq!((report.gone, world.tags("a").await), (2, vec!["main".to_owned()]));
    assert_eq!(world.tags("signatures").await.len(), 2);
}

#[tokio::test]
async fn pulls_keep_what_is_pulled_by_its_tag_or_its_digest() {
    let world = World::new().await;
    let by_digest = world.image("a", "by-digest", "", 90.0).await;
    world.images("a", &[("by-tag", 90.0), ("long-ago", 90.0), ("never", 90.0), ("new", 1.0)]).await;
    let storage = &world.harness.storage;
    let today = Day::today();
    let recorded = |since: u32| {
        let recording = Recording { since: Day(today.0 - since), until: today };
        Recording::change(storage, move |_| recording)
    };
    let entries = one("keep = { pulled_within = \"14d\" }");
    let plan = async || going(&world.retention(&entries).plan(&Order::default(), &nobody).await.unwrap());
    assert_eq!(plan().await, Vec::<String>::new(), "nobody knows what was pulled");
    recorded(7).await.unwrap();
    assert_eq!(plan().await, Vec::<String>::new(), "what was pulled before counts as of that day");
    let pulls = Pulls::over(storage.clone());
    pulls.pulled_on("a", "long-ago", Day(today.0 - 20));
    pulls.pulled_on("a", "by-tag", Day(today.0 - 3));
    pulls.pulled_on("a", &by_digest.text(), Day(today.0 - 5));
    pulls.flush().await;
    recorded(60).await.unwrap();
    assert_eq!(plan().await, ["a:long-ago", "a:never"]);
    let entries = one("keep = { latest_pulled = 2 }");
    let plan = world.retention(&entries).plan(&Order::default(), &nobody).await.unwrap();
    assert_eq!(going(&plan), ["a:long-ago", "a:never", "a:new"]);
}

/// The cleanup script that users have: for each repository, each tag whose image says that it was made more than 30 days ago is
/// deleted. It counts whole days, so that it takes them from the 31st on.
#[tokio::test]
async fn thirty_days_by_creation_date_are_one_policy() {
    let world = World::new().await;
    let made = |days: u64| {
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400 + 3600);
        humantime::format_rfc3339_seconds(time).to_string()
    };
    let script = |days: u64| days > 30;
    let mut expected = Vec::new();
    for (repository, ages) in
        [("app/web", [0, 12, 29, 31, 45]), ("app/api", [1, 2, 3, 400, 33]), ("tools", [40, 35, 5, 6, 7])]
    {
        for days in ages {
            let tag = format!("made-{days}");
            // When it was pushed does not matter to the script.
            world.image(repository, &tag, &made(days), if days % 2 == 0 { 90.0 } else { 0.0 }).await;
            expected.extend(script(days).then(|| format!("{repository}:{tag}")));
        }
    }
    expected.sort();
    let policy = "[[retention]]\nrepositories = \"**\"\nkeep = { created_within = \"30d\" }\nmost = \"100%\"\n";
    let report = world.run(policy).await;
    assert_eq!(going(&report), expected);
    assert_eq!(report.gone, expected.len());
    assert_eq!(world.tags("tools").await, ["made-5", "made-6", "made-7"]);
    // Unlike the script: the last tag stays, and so does what has no date of its own while its push is young.
    world.image("old", "only", &made(500), 90.0).await;
    world.image("reproducible", "a", "1970-01-01T00:00:00Z", 1.0).await;
    world.image("reproducible", "b", "1970-01-01T00:00:00Z", 60.0).await;
    assert_eq!(going(&world.run(policy).await), ["reproducible:b"]);
}

#[tokio::test]
async fn one_repository_that_fails_does_not_keep_others_from_theirs() {
    let world = World::new().await;
    for repository in ["a", "b", "c"] {
        world.images(repository, &[("old", 40.0), ("new", 1.0)]).await;
    }
    let newer = OwnKey::Pulls(name("b"));
    let put = world.harness.storage.own_put(&newer, r#"{"version":9}"#.into(), Precondition::None).await;
    put.unwrap();
    let recording = Recording { since: Day(1), until: Day::today() };
    Recording::change(&world.harness.storage, |_| recording).await.unwrap();
    let retention = world.retention(&one("keep = { pulled_within = \"14d\" }"));
    let report = retention.run(&Order { yes: true, ..Order::default() }, &nobody).await.unwrap();
    assert_eq!((report.gone, report.failed.len(), report.repositories), (2, 1, 3));
    assert!(report.failed[0].repository == "b" && report.failed[0].reason.contains("a newer one has written it"));
    assert_eq!(world.tags("b").await, ["new", "old"]);
    let some = Order { yes: true, repositories: Some("c".into()), ..Order::default() };
    assert_eq!(retention.run(&some, &nobody).await.unwrap().repositories, 1);
    let none = Order { repositories: Some("nosuch/**".into()), ..Order::default() };
    assert!(matches!(retention.plan(&none, &nobody).await, Err(RetentionError::NoRepository(_))));
    let bad = Order { repositories: Some("[".into()), ..Order::default() };
    assert!(matches!(retention.plan(&bad, &nobody).await, Err(RetentionError::Pattern(_))));
}

#[tokio::test]
async fn where_nothing_is_written_nothing_goes() {
    let world = World::new().await;
    world.images("a", &[("old", 40.0), ("new", 1.0)]).await;
    world.harness.registry.reconfigure(&registry::Config { read_only: true, ..registry::Config::default() });
    let retention = world.retention(&one(MONTH));
    let refused = retention.run(&Order { yes: true, ..Order::default() }, &nobody).await;
    assert!(refused.err().unwrap().to_string().contains("read_only"));
    assert_eq!(going(&retention.plan(&Order::default(), &nobody).await.unwrap()), ["a:old"]);
    // Whether clients may delete is another question.
    world.harness.registry.reconfigure(&registry::Config { delete: false, ..registry::Config::default() });
    assert_eq!(world.run(&one(MONTH)).await.gone, 1);
}

#[tokio::test]
async fn a_repository_whose_tags_all_stay_costs_one_list() {
    let (harness, calls) = crate::registry::tests::harness::Harness::counted().await;
    for number in 0..20 {
        harness.push_image("a", &format!("t{number}"), "x").await;
    }
    let fleet = crate::fleet::Fleet::open(
        None,
        false,
        Arc::new(crate::fleet::Metrics::new(&prometheus::Registry::new()).unwrap()),
    );
    let parts = super::super::Parts {
        registry: harness.registry.clone(),
        fleet: fleet.await,
        pulls: None,
        metrics: Arc::new(super::super::Metrics::new(&prometheus::Registry::new()).unwrap()),
    };
    let retention = super::super::Retention::new(parts, &configs(&one(MONTH))).unwrap();
    let before = calls();
    let plan = retention.plan(&Order::default(), &nobody).await.unwrap();
    assert_eq!((plan.tags, plan.goes), (20, 0));
    let spent = calls() - before;
    assert!(spent <= 16, "{spent} calls to storage for 20 tags");
}

#[tokio::test]
async fn of_two_runs_at_once_one_waits_for_another_time() {
    let world = World::new().await;
    world.images("a", &[("old", 40.0), ("new", 1.0)]).await;
    let retention = world.retention(&one(MONTH));
    let order = Order { yes: true, ..Order::default() };
    let (one, other) = tokio::join!(retention.run(&order, &nobody), retention.run(&order, &nobody));
    let busy = |outcome: &Result<_, RetentionError>| matches!(outcome, Err(RetentionError::Busy));
    assert!(busy(&one) != busy(&other));
    assert_eq!(world.tags("a").await, ["new"]);
}
