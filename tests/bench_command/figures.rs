//! What is measured, and how it is told.

use serde_json::Value;

use super::run::{SMALL, bench, small, tags};
use crate::harness::{Entrepot, Fault, FaultProxy, Registry, Rule, Setup, scratch};

const MEASURES: [&str; 7] = ["catalog", "concurrent_pull", "manifest", "ping", "pull", "push", "tags"];

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn everything_is_done_as_often_as_it_was_asked_for_and_deleted() {
    let server = Setup::registry().start();
    let proxy = FaultProxy::before(server.address);
    let told = small(&proxy.address.to_string(), &["--json"]).well().json();
    let count = |measure: &str| told["sides"][0]["measures"][measure]["count"].as_u64();
    let counts = MEASURES.map(count);
    // Three pulls, two at once, are two waves.
    assert_eq!(counts, [Some(4), Some(4), Some(4), Some(4), Some(3), Some(2), Some(4)], "{told:#}");
    // Two layers and a config of each image, in two requests each.
    assert_eq!((proxy.count("POST", "/blobs/uploads/"), proxy.count("PUT", "digest=")), (6, 6));
    assert_eq!(proxy.count("PUT", "/manifests/"), 2);
    assert_eq!(proxy.count("GET", "/blobs/"), 7 * 3);
    assert_eq!(proxy.count("GET", "/_catalog"), 4);
    let sent: Vec<_> = proxy.seen_of("PUT", "digest=");
    assert!(sent.iter().all(|seen| seen.head.content_length().is_some()), "a layer's length is said before it");
    assert_eq!(sent.iter().filter(|seen| seen.head.content_length() == Some(70_000)).count(), 4);
    assert_eq!(tags(server.address, None), Vec::<String>::new());
    let manifests: Vec<_> = proxy.seen_of("DELETE", "/manifests/");
    assert_eq!(manifests.iter().map(|seen| seen.status).collect::<Vec<_>>(), [202, 202]);
    assert_eq!((proxy.count("DELETE", "/blobs/"), &told["sides"][0]["cleanup"]["deleted"]), (6, &2.into()));
}

#[test]
fn the_document_has_the_same_shape_whatever_is_measured() {
    let (one, other) = (Setup::registry().start(), Registry::debian().start());
    let (address, vs) = (one.address.to_string(), format!("http://{}/", other.address));
    let alone = small(&address, &["--json"]).well().json();
    let both = small(&address, &["--vs", &vs, "--json"]).well().json();
    let top = ["ended", "ratios", "repository", "settings", "sides"];
    assert_eq!((keys(&alone), keys(&both)), (top.to_vec(), top.to_vec()));
    assert_eq!(
        (&alone["ended"], &alone["ratios"], &alone["repository"]),
        (&"done".into(), &Value::Null, &"team/measured".into())
    );
    assert_eq!(
        keys(&alone["settings"]),
        ["concurrency", "layer_bytes", "layers", "pulls", "pushes", "requests", "time_seconds"]
    );
    assert_eq!((alone["sides"].as_array().map(Vec::len), both["sides"].as_array().map(Vec::len)), (Some(1), Some(2)));
    for side in both["sides"].as_array().expect("sides") {
        assert_eq!(keys(side), ["address", "cleanup", "measures", "no_catalog"]);
        assert_eq!(keys(&side["cleanup"]), ["bytes", "deleted", "left", "refused", "trouble"]);
        assert_eq!(keys(&side["measures"]), MEASURES);
        for measure in MEASURES {
            let told = &side["measures"][measure];
            assert_eq!(keys(told), ["bytes_per_second", "count", "failed", "per_second", "seconds", "why"]);
            assert_eq!(keys(&told["seconds"]), ["max", "p50", "p90", "p99"]);
            let seconds = ["p50", "max"].map(|key| told["seconds"][key].as_f64().expect("a number"));
            assert!(seconds[0] > 0.0 && seconds.is_sorted(), "{told:#}");
            assert!(told["per_second"].as_f64().expect("a rate") > 0.0, "{told:#}");
            let moves = ["push", "pull", "concurrent_pull"].contains(&measure);
            assert_eq!(told["bytes_per_second"].is_number(), moves, "{measure}");
        }
    }
    assert_eq!(both["sides"][1]["address"], format!("http://{}", other.address));
    assert_eq!(keys(&both["ratios"]), MEASURES);
    let push = &both["ratios"]["push"];
    assert_eq!(keys(push), ["bytes_per_second", "max", "p50", "p90", "p99", "per_second"]);
    let p50 = |side: usize| both["sides"][side]["measures"]["push"]["seconds"]["p50"].as_f64().expect("a number");
    assert!((push["p50"].as_f64().expect("a ratio") - p50(0) / p50(1)).abs() < 1e-9, "{both:#}");
    assert_eq!((tags(one.address, None), tags(other.address, None)), (Vec::new(), Vec::new()));
}

#[test]
fn rounds_go_to_both_addresses_in_turn() {
    let server = Registry::debian().start();
    let proxy = FaultProxy::before(server.address);
    let address = proxy.address.to_string();
    small(&address, &["--vs", &address, "--requests", "0"]).well();
    let order: Vec<String> = proxy.seen_of("PUT", "/manifests/").into_iter().map(|seen| seen.target).collect();
    let sides: Vec<&str> = order.iter().map(|target| if target.contains("-a-") { "a" } else { "b" }).collect();
    assert_eq!(sides, ["a", "b", "b", "a"], "{order:?}");
}

#[test]
fn people_get_a_table_with_both_columns_and_the_ratio() {
    let (one, other) = (Setup::registry().start(), Registry::debian().start());
    let (address, vs) = (one.address.to_string(), other.address.to_string());
    let told = small(&address, &["--vs", &vs]).well().text;
    assert!(
        told.starts_with(&format!("A: http://{address}\nB: http://{vs}\nimages of 136.7 KiB in 2 layers\n")),
        "{told}"
    );
    let titles = ["push of an image\n", "pull of an image\n", "pull, 2 at once\n", "GET /v2/\n", "GET a manifest\n"];
    for part in titles.iter().chain(&["GET the list of tags\n", "GET the catalog\n"]) {
        assert!(told.contains(part), "{part}: {told}");
    }
    let header: Vec<&str> =
        told.lines().find(|line| line.contains("A/B")).expect("a head").split_whitespace().collect();
    assert_eq!(header, ["A", "B", "A/B"]);
    assert_eq!(told.lines().filter(|line| line.starts_with("  MB/s")).count(), 3, "{told}");
    assert_eq!(told.lines().filter(|line| line.starts_with("  requests/s")).count(), 4, "{told}");
    assert_eq!(told.matches("2 images deleted from team/measured; its next collection of garbage frees").count(), 2);
    let alone = bench(&[&[address.as_str()], &SMALL[..]].concat()).well().text;
    assert!(!alone.contains("A/B") && alone.contains("deleted from entrepot-bench/"), "{alone}");
}

#[test]
fn percentiles_of_few_samples_are_not_told() {
    let server = Setup::registry().start();
    let address = server.address.to_string();
    let counts = ["--pushes", "10", "--pulls", "9", "--concurrency", "1", "--requests", "100"];
    let told = small(&address, &[&counts[..], &["--json"]].concat()).well().json();
    for (measure, count, p90, p99) in [
        ("pull", 9, false, false),
        ("push", 10, true, false),
        ("concurrent_pull", 9, false, false),
        ("ping", 100, true, true),
    ] {
        let measured = &told["sides"][0]["measures"][measure];
        assert_eq!(measured["count"], count, "{measure}: {told:#}");
        let seconds = &measured["seconds"];
        assert_eq!((seconds["p90"].is_number(), seconds["p99"].is_number()), (p90, p99), "{measure}: {seconds}");
        assert_eq!((seconds["p90"].is_null(), seconds["p99"].is_null()), (!p90, !p99), "{measure}: {seconds}");
        assert!(seconds["p50"].is_number() && seconds["max"].is_number(), "{measure}: {seconds}");
    }
    let text = small(&address, &counts).well().text;
    let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let push = words.iter().position(|line| line.starts_with(&["push"])).expect("a push");
    assert_eq!(words[push + 1], ["samples", "10"], "{text}");
    assert_eq!((words[push + 3][0], words[push + 3].len()), ("p90", 3), "{text}");
    assert_eq!(words[push + 4], ["p99", "—"], "{text}");
    assert!(text.contains("—: too few samples to say; p90 is told of 10 or more, p99 of 100 or more"), "{text}");
}

#[test]
fn the_plot_is_xml_with_a_bar_for_each_value() {
    let (one, other) = (Setup::registry().start(), Registry::debian().start());
    let folder = scratch();
    let path = folder.path().join("figures.svg");
    let (address, vs, file) = (one.address.to_string(), other.address.to_string(), path.display().to_string());
    small(&address, &["--vs", &vs, "--plot", &file, "--requests", "100", "--pushes", "10"]).well();
    let text = std::fs::read_to_string(&path).expect("the plot");
    let mut checked = std::process::Command::new("python3");
    checked.args([
        "-c",
        "import sys, xml.dom.minidom as m; print(m.parse(sys.argv[1]).documentElement.tagName)",
        &file,
    ]);
    assert_eq!(crate::harness::tools::run(&mut checked), "svg");
    // Two of the legend; of both, four values of four requests, three of ten pushes, two of three and four pulls, three with a rate; and
    // the ground.
    assert_eq!(text.matches("<rect ").count(), 2 + 2 * (4 * 4 + 3 + 2 * 2 + 3) + 1, "{text}");
    let without = ["— of 10 samples", "— of 3 samples", "— of 4 samples"].map(|words| text.matches(words).count());
    assert_eq!(without, [2, 2 * 2, 2 * 2], "{text}");
    assert!(text.contains(&address) && text.contains(&vs) && text.contains("MB/s"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1, "nothing else is left beside it");
}

#[test]
fn wrong_bytes_and_refusals_are_counted_and_make_it_fail() {
    let server = Registry::debian().start();
    let proxy = FaultProxy::before(server.address);
    proxy.on(Rule::new("GET", "/blobs/", Fault::FlipAt(10)).times(1));
    proxy.on(Rule::new("GET", "/tags/list", Fault::Answer(crate::harness::Reply::new(503))).times(2));
    let address = proxy.address.to_string();
    let told = small(&address, &["--json"]).ended(1).json();
    let of = |measure: &str| &told["sides"][0]["measures"][measure];
    assert_eq!(
        (&of("pull")["failed"], &of("tags")["failed"], &of("ping")["failed"]),
        (&1.into(), &2.into(), &0.into())
    );
    assert!(of("pull")["why"].as_str().expect("why").contains("has other bytes than were pushed"), "{told:#}");
    assert!(of("tags")["why"].as_str().expect("why").contains("with 503"), "{told:#}");
    assert_eq!(tags(server.address, None), Vec::<String>::new());
    // Where nothing goes well, it does not go on.
    proxy.on(Rule::new("GET", "/blobs/", Fault::Answer(crate::harness::Reply::new(500))));
    let told = small(&address, &["--pulls", "100"]).ended(1);
    assert!(told.errors.contains("given up after 10 failures"), "{}", told.errors);
    assert_eq!(tags(server.address, None), Vec::<String>::new());
}

#[test]
fn what_leads_to_a_bucket_is_followed() {
    let minio = crate::harness::Minio::start(&["measured"]);
    let registry = Registry::v3().bucket(&minio.bucket("measured")).redirecting().start();
    let told = small(&registry.address.to_string(), &["--json"]).well().json();
    assert_eq!(told["sides"][0]["measures"]["pull"]["count"], 3, "{told:#}");
}

#[test]
fn an_entrepot_before_another_registry_is_measured_beside_it() {
    let registry = Registry::debian().start();
    let server = Entrepot::before(&[registry.address]);
    let vs = registry.address.to_string();
    let told = small(&server.address.to_string(), &["--vs", &vs, "--json"]).well().json();
    assert_eq!(told["ended"], "done");
    assert_eq!(tags(registry.address, None), Vec::<String>::new());
}
