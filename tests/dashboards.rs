//! The dashboard asks for what there is: each of its queries is answered with data by a real Prometheus that scrapes an Entrepot which
//! does everything at once. Grafana itself is not run: what it wants of the file is looked at here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::remote::Budget;
use crate::harness::{
    Authority, Connection, Entrepot, FakeRemote, Manner, Prometheus, Redis, Registry, Repository, Request, Setup,
    eventually, random_bytes, scratch,
};
use crate::mirror::world::{pull_image, remote};

const PASSWORD: &str = "the password of ann";
/// Until each query has had data. Rates need two scrapes, and some are of what happens seldom.
const PATIENCE: Duration = Duration::from_secs(240);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/grafana")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("entrepot.json")).expect("JSON")
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().expect("panels")
}

/// Every query, with the title of its panel.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let targets = |panel: &Value| panel["targets"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let all = panels(dashboard).iter();
    all.flat_map(|panel| targets(panel).into_iter().map(move |t| (text(&panel["title"]), text(&t["expr"])))).collect()
}

/// A front, a registry and a mirror in one, with rules, limits, quotas, jobs, Redis and TLS.
struct World {
    entrepot: Entrepot,
    hub: FakeRemote,
    _peers: (crate::harness::Serving, crate::harness::Serving, tempfile::TempDir),
    _redis: crate::harness::ServingRedis,
    _authority: Authority,
    _folder: tempfile::TempDir,
}

fn world() -> World {
    let peers = Registry::pair();
    let redis = Redis::new().start();
    let authority = Authority::new();
    let issued = authority.issue("registry", &["registry.example.com"]);
    let hub = FakeRemote::start(Manner { budget: Some(Budget::of(&[("", 100_000)])), ..Manner::plain() });
    let folder = scratch();
    let file = |name: &str| format!("{:?}", folder.path().join(name).display().to_string());
    let secret = hex::encode(random_bytes(7, 32));
    std::fs::write(folder.path().join("fleet.secret"), secret).expect("a secret");
    let tls = format!("[{{ certificate = {:?}, key = {:?} }}]", issued.certificate, issued.key);
    let addresses = format!("[\"{}\", \"{}\"]", peers.0.address, peers.1.address);
    let setup = remote(Setup::registry(), "hub", "docker.io", hub.address())
        .set("remote.hub.prefetch", "\"1GiB\"")
        .set("remote.hub.tag_ttl", "\"0s\"")
        .set("listener.1.address", "\"127.0.0.1:0\"")
        .set("listener.1.tls", &tls)
        .set("audit.to", &file("audit.log"))
        .set("fleet.secret_file", &file("fleet.secret"))
        .set("limits.requests", "\"10000/s\"")
        .set("gc.schedule", "\"0 2 1 1 *\"")
        .set("verify.schedule", "\"0 3 1 1 *\"")
        .set("retention", "[{ repositories = \"team/**\", keep = { latest_pushed = 9 }, schedule = \"0 1 1 1 *\" }]")
        .set("quota", "[{ repositories = \"team/**\", bytes = \"1GiB\" }]")
        .set("auth.username", "\"ann\"")
        .set("auth.password", &format!("{PASSWORD:?}"))
        .set(
            "auth.rule",
            "[{ who = [\"anonymous\"], allow = [\"pull\"] },
              { who = [\"user:ann\"], allow = [\"pull\", \"push\", \"overwrite\", \"delete\", \"catalog\", \"admin\"] }]",
        )
        .set("cluster.main.peers", &addresses)
        .set(
            "route",
            "[{ repositories = \"docker.io/**\", read = \"remote.hub\" },
              { repositories = \"front/**\", read = \"cluster.main\", write = \"cluster.main\" },
              { read = \"registry\", write = \"registry\" }]",
        );
    let entrepot = redis.set(setup).start();
    World { entrepot, hub, _peers: peers, _redis: redis, _authority: authority, _folder: folder }
}

impl World {
    /// A bit of all that users do.
    fn traffic(&self, round: u64) {
        let at = |name: &str| Repository::at(self.entrepot.address, name);
        let tag = format!("t{round}");
        let (mine, front) = (at("team/app").basic("ann", PASSWORD), at("front/app"));
        for (repository, seed) in [(&mine, round * 3), (&front, round * 3 + 1)] {
            let image = repository.push_random(&tag, seed, 200_000);
            for _ in 0..3 {
                pull_image(&Repository::at(repository.address, &repository.name), &tag, &image).expect("a pull");
            }
        }
        let image = self.hub.put("library/app", &tag, round * 3 + 2, 200_000);
        pull_image(&at("docker.io/library/app"), &tag, &image).expect("a pull of what is mirrored");
        // What the remote cannot be asked about is served as it was, once that is written down.
        self.hub.die();
        eventually("what was mirrored is kept", || at("docker.io/library/app").get_manifest(&tag).status == 200);
        self.hub.revive();
        Request::new("POST", at("team/app").uploads()).send(self.entrepot.address).expect(401);
        let mut connection = Connection::open(self.entrepot.address).expect("a connection");
        connection.send_raw(b"NO HTTP\r\n\r\n").expect("sent");
        connection.read_head().expect("a refusal");
    }

    fn order(&self, path: &str) {
        let order = Request::new("POST", path).basic("ann", PASSWORD).header("Content-Type", "application/json");
        order.body("{}").send(self.entrepot.admin).expect(200);
    }
}

#[test]
fn each_query_is_answered_with_data() {
    let world = world();
    let prometheus = Prometheus::of("entrepot", &[world.entrepot.admin]);
    let mut pending = queries(&dashboard());
    assert!(pending.len() > 60, "{pending:?}");
    let begun = Instant::now();
    let mut round = 0;
    while !pending.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "no data for {pending:#?}\n{}", world.entrepot.metrics());
        world.traffic(round);
        if round == 0 {
            world.order("/api/v1/gc/run");
            world.order("/api/v1/stats");
        }
        round += 1;
        std::thread::sleep(Duration::from_secs(1));
        pending.retain(|(title, query)| {
            let query = query.replace("$job", "entrepot").replace("$instance", ".*").replace("$__rate_interval", "1m");
            assert!(!query.contains('$'), "{title}: {query}");
            let values = prometheus.query(&query).unwrap_or_else(|error| panic!("{title}: {query}: {error}"));
            values.iter().all(|value| value.is_nan())
        });
    }
    // And a query for what is not there has none.
    assert_eq!(prometheus.query("entrepot_nothing"), Ok(Vec::new()));
    assert!(prometheus.query("sum by (").is_err());
}

#[test]
fn it_asks_for_metrics_that_are_on_the_page() {
    let page = std::fs::read_to_string(folder().join("../../METRICS.md")).expect("the page of metrics");
    let mut names = BTreeSet::new();
    for (_, query) in queries(&dashboard()) {
        let words = query.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).map(str::to_owned);
        names.extend(words.filter(|word| ["entrepot_", "registry_", "process_"].iter().any(|p| word.starts_with(p))));
    }
    assert!(names.len() > 60, "{names:?}");
    for name in names {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
        assert!(page.contains(&format!("`{base}`")) || page.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn it_is_a_file_that_can_be_provisioned_anywhere() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "entrepot");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 39));
    assert_eq!(dashboard.get("id"), None, "the database's own number");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<_> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}");
        let place = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        assert!(place("x") + place("w") <= 24, "{title}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{title} lies over another");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title}");
        for source in targets.iter().chain([panel]).map(|asking| &asking["datasource"]) {
            assert_eq!(source["uid"], "${datasource}", "{title}");
        }
        let references: BTreeSet<_> = targets.iter().filter_map(|target| target["refId"].as_str()).collect();
        assert_eq!(references.len(), targets.len(), "{title}");
    }
    let rows = panels(&dashboard).iter().filter(|panel| panel["type"] == "row");
    assert!(rows.count() >= 5);
}

#[test]
fn grafana_is_told_where_they_are() {
    let yaml = |path: &str| serde_yaml::from_str::<Value>(&read(path)).expect("YAML");
    let provider = &yaml("provisioning/dashboards/entrepot.yaml")["providers"][0];
    assert_eq!(
        (&provider["type"], &provider["options"]["path"]),
        (&"file".into(), &"/var/lib/grafana/dashboards".into())
    );
    let source = &yaml("provisioning/datasources/prometheus.yaml")["datasources"][0];
    assert_eq!((&source["type"], &source["access"]), (&"prometheus".into(), &"proxy".into()));
    // The interval that rates reach over is that of the scrapes.
    let prometheus = std::fs::read_to_string(folder().join("../prometheus/prometheus.yml")).expect("its sample");
    let prometheus: Value = serde_yaml::from_str(&prometheus).expect("YAML");
    assert_eq!(source["jsonData"]["timeInterval"], prometheus["global"]["scrape_interval"]);
    assert!(
        prometheus["scrape_configs"].as_array().is_some_and(|all| all.iter().any(|one| one["job_name"] == "entrepot"))
    );
}
