//! The Helm chart and the plain manifests, as Kubernetes would be given them: rendered by helm and kustomize, judged by the schemas of
//! four versions of Kubernetes, their configurations checked by Entrepot. No cluster is run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize as _;
use serde_json::Value;

use crate::harness::entrepot::BINARY;
use crate::harness::registry::tools_folder;
use crate::harness::tools::{Containers, output, run};
use crate::harness::{Authority, scratch};

/// Those that the schemas are there for.
const VERSIONS: [&str; 4] = ["1.34.0", "1.35.0", "1.36.0", "1.37.0"];
/// Kinds of the Prometheus Operator, which Kubernetes' own schemas do not know.
const OPERATOR: [&str; 2] = ["PrometheusRule", "ServiceMonitor"];
/// Values that the chart is rendered with; none: its own.
const VALUES: [Option<&str>; 4] = [None, Some("s3"), Some("tls"), Some("microk8s")];
const OVERLAYS: [&str; 4] = ["s3", "volume", "microk8s", "k3s"];

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

/// One object, as it was rendered and as it is read.
struct Object {
    text: String,
    value: Value,
}

impl Object {
    fn kind(&self) -> &str {
        self.value["kind"].as_str().expect("a kind")
    }

    fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().expect("a name")
    }

    /// What it says of the pods that it makes.
    fn pod(&self) -> Option<&Value> {
        let spec = &self.value["spec"];
        match self.kind() {
            "Deployment" | "StatefulSet" => Some(&spec["template"]),
            "CronJob" => Some(&spec["jobTemplate"]["spec"]["template"]),
            _ => None,
        }
    }
}

/// All objects of one installation.
struct Installation {
    what: String,
    objects: Vec<Object>,
}

impl Installation {
    fn of(what: &str, text: &str) -> Self {
        let documents = text.split("\n---\n").filter(|part| part.lines().any(|line| line.starts_with("kind:")));
        let read = |text: &str| {
            let value = Value::deserialize(serde_yaml::Deserializer::from_str(text)).expect("YAML");
            Object { text: text.to_owned(), value }
        };
        Installation { what: what.to_owned(), objects: documents.map(read).collect() }
    }

    fn kinds<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Object> {
        self.objects.iter().filter(move |object| object.kind() == kind)
    }

    /// The one that runs the registry.
    fn workload(&self) -> &Object {
        let served = self.kinds("Deployment").chain(self.kinds("StatefulSet")).collect::<Vec<_>>();
        assert_eq!(served.len(), 1, "{}", self.what);
        served[0]
    }

    /// entrepot.toml.
    fn config(&self) -> &str {
        let texts = self.kinds("ConfigMap").filter_map(|object| object.value["data"]["entrepot.toml"].as_str());
        let texts = texts.collect::<Vec<_>>();
        assert_eq!(texts.len(), 1, "{}", self.what);
        texts[0]
    }
}

fn helm(arguments: &[&str]) -> Output {
    let tools = Containers::new();
    output(tools.built("helm").args(arguments).arg(packaging().join("helm/entrepot")))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn values(name: &str) -> String {
    packaging().join(format!("helm/entrepot/ci/{name}.yaml")).display().to_string()
}

fn charted(name: Option<&str>) -> Installation {
    let mut arguments = vec!["template", "mine", "--kube-version", VERSIONS[0], "--namespace", "registry"];
    let file = name.map(values);
    arguments.extend(file.iter().flat_map(|file| ["--values", file.as_str()]));
    let rendered = helm(&arguments);
    assert!(rendered.status.success(), "{name:?}: {}", text(&rendered.stderr));
    Installation::of(&format!("chart {name:?}"), &text(&rendered.stdout))
}

fn overlaid(name: &str) -> Installation {
    let folder = packaging().join("kubernetes/overlays").join(name);
    let rendered = run(Containers::new().built("kustomize").arg("build").arg(folder));
    Installation::of(&format!("overlay {name}"), &rendered)
}

fn installations() -> Vec<Installation> {
    VALUES.into_iter().map(charted).chain(OVERLAYS.into_iter().map(overlaid)).collect()
}

fn validate(version: &str, file: &Path) -> Output {
    let program = tools_folder().join("kubernetes-validate/bin/kubernetes-validate");
    assert!(program.exists(), "{} is missing: `make install` puts it there", program.display());
    output(Command::new(program).args(["--strict", "-k", version]).arg(file))
}

#[test]
fn helm_finds_nothing_to_say_of_the_chart() {
    for name in VALUES {
        let file = name.map(values);
        let mut arguments = vec!["lint", "--strict", "--kube-version", VERSIONS[0]];
        arguments.extend(file.iter().flat_map(|file| ["--values", file.as_str()]));
        let told = helm(&arguments);
        assert!(told.status.success(), "{name:?}: {}{}", text(&told.stdout), text(&told.stderr));
    }
}

#[test]
fn four_versions_of_kubernetes_know_every_field() {
    let folder = scratch();
    let file = folder.path().join("objects.yaml");
    let mut all: Vec<_> = installations().into_iter().map(|one| (one.what, one.objects)).collect();
    let example = std::fs::read_to_string(packaging().join("kubernetes/examples/app.yaml")).expect("the example");
    all.push(("example".into(), Installation::of("example", &example).objects));
    for (what, objects) in all {
        assert!(!objects.is_empty(), "{what}");
        let own = objects.iter().filter(|object| !OPERATOR.contains(&object.kind()));
        let texts: Vec<&str> = own.map(|object| object.text.as_str()).collect();
        std::fs::write(&file, texts.join("\n---\n")).expect("the objects");
        for version in VERSIONS {
            let told = validate(version, &file);
            let told = (told.status.success(), text(&told.stdout) + &text(&told.stderr));
            assert!(told.0 && !told.1.contains("WARN"), "{what}, Kubernetes {version}: {}", told.1);
            assert_eq!(told.1.matches("passed for resource").count(), texts.len(), "{what}: {}", told.1);
        }
    }
    // It would say what is wrong.
    std::fs::write(&file, "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}\n")
        .expect("a mistake");
    assert!(!validate(VERSIONS[0], &file).status.success());
}

/// What the strictest of Kubernetes' own rules for pods wants (`restricted`), and no writable root.
#[test]
fn no_pod_may_more_than_it_needs() {
    for installation in installations() {
        let mut pods = 0;
        for pod in installation.objects.iter().filter_map(Object::pod) {
            let (spec, what) = (&pod["spec"], &installation.what);
            pods += 1;
            assert_eq!(spec["automountServiceAccountToken"], false, "{what}");
            assert_eq!(spec["enableServiceLinks"], false, "{what}");
            let security = &spec["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{what}");
            assert_eq!((&security["runAsUser"], &security["runAsGroup"]), (&65532.into(), &65532.into()), "{what}");
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{what}");
            for container in spec["containers"].as_array().expect("containers") {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{what}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{what}");
                assert_eq!(security["capabilities"], serde_json::json!({ "drop": ["ALL"] }), "{what}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{what}");
            }
        }
        assert!(pods > 0, "{}", installation.what);
    }
}

/// The files that a pod finds in /etc/entrepot, by what its volume of that name has.
fn files_of_pod(pod: &Value, folder: &Path, authority: &Authority) {
    let volumes = pod["spec"]["volumes"].as_array().expect("volumes");
    let config = volumes.iter().find(|volume| volume["name"] == "config").expect("a volume for the configuration");
    let certificate = authority.issue("registry", &["registry.example.com"]);
    for source in config["projected"]["sources"].as_array().expect("sources") {
        for item in source["secret"]["items"].as_array().into_iter().flatten() {
            let path = folder.join(item["path"].as_str().expect("a path"));
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            let content = match item["key"].as_str().expect("a key") {
                "tls.crt" => std::fs::read_to_string(&certificate.certificate).expect("a certificate"),
                "tls.key" => std::fs::read_to_string(&certificate.key).expect("a key"),
                "htpasswd" => run(Command::new("htpasswd").args(["-nbB", "ann", "a password"])),
                "fleet.secret" => run(Command::new(BINARY).args(["fleet", "secret"])),
                "password" | "secret-access-key" => "a secret of no meaning".to_owned(),
                other => panic!("a secret's key that nobody has: {other}"),
            };
            std::fs::write(path, content).expect("a file of a Secret");
        }
    }
}

#[test]
fn every_configuration_passes_check_with_what_its_pod_is_given() {
    let authority = Authority::new();
    for installation in installations() {
        let folder = scratch();
        let etc = folder.path().join("etc");
        std::fs::create_dir_all(&etc).expect("a folder");
        let pod = installation.workload().pod().expect("a pod");
        files_of_pod(pod, &etc, &authority);
        let place = |path: &str| folder.path().join(path).display().to_string();
        let config = installation.config().replace("/etc/entrepot", &place("etc")).replace("/var/", &place("var/"));
        let file = etc.join("entrepot.toml");
        std::fs::write(&file, &config).expect("its configuration");
        let mut command = Command::new(BINARY);
        command.arg("check").arg(&file).env_clear();
        for variable in pod["spec"]["containers"][0]["env"].as_array().into_iter().flatten() {
            let value = variable["value"].as_str().unwrap_or("example").replace("$(POD_IP)", "10.1.2.3");
            command.env(variable["name"].as_str().expect("a name"), value);
        }
        let told = output(&mut command);
        let told = (told.status.success(), text(&told.stdout) + &text(&told.stderr));
        assert!(told.0, "{}: {}\n{config}", installation.what, told.1);
        // Behind TLS of its own or of an ingress, no login travels in clear for all that is known.
        let clear = told.1.contains("travel in clear");
        let outside = installation.kinds("Ingress").count() > 0 || config.contains("tls = [");
        assert!(!(clear && outside), "{}: {}", installation.what, told.1);
    }
}

#[test]
fn kubernetes_waits_until_a_registry_has_stopped() {
    let seconds = |span: &toml::Value| -> u64 {
        span.as_str().and_then(|text| text.strip_suffix('s')).and_then(|text| text.parse().ok()).expect("seconds")
    };
    for installation in installations() {
        let spec = &installation.workload().pod().expect("a pod")["spec"];
        let config: toml::Table = installation.config().parse().expect("TOML");
        let stop = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0);
        let drain = seconds(&config["drain"]["delay"]) + seconds(&config["drain"]["timeout"]);
        let grace = spec["terminationGracePeriodSeconds"].as_u64().expect("a grace");
        assert!(grace > stop + drain, "{}: {grace} s for {stop} + {drain}", installation.what);
        assert!(drain > seconds(&config["drain"]["timeout"]), "readiness is lost first");
    }
}

/// Whether labels have all that a selector wants.
fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().expect("a selector");
    !wanted.is_empty() && wanted.iter().all(|(label, value)| labels[label] == *value)
}

#[test]
fn what_names_something_names_what_is_there() {
    for installation in installations() {
        let what = &installation.what;
        let pod = installation.workload().pod().expect("a pod");
        let ports: Vec<&str> = pod["spec"]["containers"][0]["ports"]
            .as_array()
            .expect("ports")
            .iter()
            .filter_map(|port| port["name"].as_str())
            .collect();
        let labels = &pod["metadata"]["labels"];
        assert!(selects(&installation.workload().value["spec"]["selector"]["matchLabels"], labels), "{what}");
        let mut services = 0;
        for service in installation.kinds("Service") {
            services += 1;
            assert!(selects(&service.value["spec"]["selector"], labels), "{what}");
            for port in service.value["spec"]["ports"].as_array().expect("ports") {
                assert!(ports.contains(&port["targetPort"].as_str().expect("a name")), "{what}");
            }
        }
        assert_eq!(services, 2, "{what}");
        let has = |kind: &str, name: &Value| installation.kinds(kind).any(|object| *name == object.name());
        let sources = pod["spec"]["volumes"]
            .as_array()
            .expect("volumes")
            .iter()
            .flat_map(|v| v["projected"]["sources"].as_array());
        for map in sources.flatten().map(|source| &source["configMap"]["name"]).filter(|name| name.is_string()) {
            assert!(has("ConfigMap", map), "{what}: {map}");
        }
        for object in &installation.objects {
            let spec = &object.value["spec"];
            match object.kind() {
                "PodDisruptionBudget" => assert!(selects(&spec["selector"]["matchLabels"], labels), "{what}"),
                "NetworkPolicy" => assert!(selects(&spec["podSelector"]["matchLabels"], labels), "{what}"),
                "HorizontalPodAutoscaler" => {
                    let target = &spec["scaleTargetRef"];
                    assert!(has(target["kind"].as_str().expect("a kind"), &target["name"]), "{what}");
                }
                "StatefulSet" => assert!(has("Service", &spec["serviceName"]), "{what}"),
                "Ingress" => {
                    let service = &spec["rules"][0]["http"]["paths"][0]["backend"]["service"];
                    assert!(has("Service", &service["name"]), "{what}");
                    assert_eq!(service["port"]["name"], "registry", "{what}");
                }
                "ServiceMonitor" => {
                    let wanted = &spec["selector"]["matchLabels"];
                    let chosen = |service: &&Object| selects(wanted, &service.value["metadata"]["labels"]);
                    let found: Vec<_> = installation.kinds("Service").filter(chosen).collect();
                    assert_eq!(found.len(), 1, "{what}");
                    assert_eq!(spec["endpoints"][0]["port"], found[0].value["spec"]["ports"][0]["name"], "{what}");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn probes_ask_for_what_the_admin_address_answers() {
    for installation in installations() {
        let container = &installation.workload().pod().expect("a pod")["spec"]["containers"][0];
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(container[probe]["httpGet"], serde_json::json!({ "path": path, "port": "admin" }));
        }
        let config: toml::Table = installation.config().parse().expect("TOML");
        let admin = config["admin"]["address"].as_str().and_then(|address| address.rsplit(':').next());
        let port = container["ports"].as_array().expect("ports").iter().find(|port| port["name"] == "admin");
        assert_eq!(admin, port.map(|port| port["containerPort"].to_string()).as_deref());
    }
}

#[test]
fn containers_run_commands_that_there_are() {
    for installation in installations() {
        for pod in installation.objects.iter().filter_map(Object::pod) {
            let arguments = pod["spec"]["containers"][0]["args"].as_array().expect("arguments");
            let arguments = arguments.iter().map(|word| word.as_str().expect("a word"));
            // With --help, a command is understood and not done.
            run(Command::new(BINARY).args(arguments).arg("--help").env_clear());
        }
    }
}

/// The user of the chart, whatever it is called: by the rules, for our jobs, and for commands in the pods.
#[test]
fn who_the_chart_makes_administers() {
    for (values, name) in [(None, "admin"), (Some("s3"), "operator")] {
        let installation = charted(values);
        let config: toml::Table = installation.config().parse().expect("TOML");
        assert_eq!(config["auth"]["username"].as_str(), Some(name));
        let rules = config["auth"]["rule"].as_array().expect("rules");
        let may = rules.iter().filter(|rule| {
            let has = |key: &str, word: &str| {
                rule.get(key).and_then(|list| list.as_array()).is_some_and(|list| list.contains(&word.into()))
            };
            has("allow", "admin") && has("who", &format!("user:{name}")) && rule.get("repositories").is_none()
        });
        assert_eq!(may.count(), 1, "{}", installation.what);
        let mut logged_in = 0;
        for pod in installation.objects.iter().filter_map(Object::pod) {
            let container = &pod["spec"]["containers"][0];
            let variable = |name: &str| {
                let all = container["env"].as_array().expect("an environment");
                all.iter().find(|one| one["name"] == name).and_then(|one| one["value"].as_str()).expect("a login")
            };
            assert_eq!(variable("ENTREPOT_ADMIN_USER"), name, "{}", installation.what);
            let password = variable("ENTREPOT_ADMIN_PASSWORD_FILE");
            let mounts = container["volumeMounts"].as_array().expect("mounts");
            let below = |mount: &Value| mount["mountPath"].as_str().is_some_and(|folder| password.starts_with(folder));
            assert!(mounts.iter().any(below), "{}: {password}", installation.what);
            logged_in += 1;
        }
        assert_eq!(logged_in, if values.is_some() { 3 } else { 1 });
    }
    assert!(!charted(Some("microk8s")).config().contains("[[auth.rule]]"));
}

#[test]
fn an_addon_of_microk8s_is_replaced_at_its_own_address() {
    for installation in [overlaid("microk8s"), charted(Some("microk8s"))] {
        let outside: Vec<_> =
            installation.kinds("Service").filter(|one| one.value["spec"]["type"] == "NodePort").collect();
        assert_eq!(outside.len(), 1);
        assert_eq!(outside[0].name(), "registry");
        let port = &outside[0].value["spec"]["ports"][0];
        assert_eq!((&port["port"], &port["nodePort"]), (&5000.into(), &32000.into()));
        let claim = &installation.workload().value["spec"]["volumeClaimTemplates"][0]["spec"];
        assert_eq!(claim["storageClassName"], "microk8s-hostpath");
    }
    let spaces = overlaid("microk8s");
    assert!(spaces.objects.iter().all(|object| {
        object.kind() == "Namespace" || object.value["metadata"]["namespace"] == "container-registry"
    }));
}

#[test]
fn k3s_nodes_are_told_of_the_registry_that_its_ingress_has() {
    let file = packaging().join("kubernetes/overlays/k3s/registries.yaml");
    let told: Value = serde_yaml::from_str(&std::fs::read_to_string(file).expect("the file")).expect("YAML");
    let installation = overlaid("k3s");
    let ingress = installation.kinds("Ingress").next().expect("an ingress");
    let host = ingress.value["spec"]["rules"][0]["host"].as_str().expect("a host");
    assert_eq!(told["mirrors"][host]["endpoint"][0], format!("https://{host}"));
    assert!(told["configs"][host]["auth"]["username"].is_string());
}

#[test]
fn an_ingress_lets_layers_of_any_size_through() {
    for installation in [charted(Some("s3")), overlaid("s3")] {
        let ingress = installation.kinds("Ingress").next().expect("an ingress");
        let annotations = &ingress.value["metadata"]["annotations"];
        assert_eq!(annotations["nginx.ingress.kubernetes.io/proxy-body-size"], "0");
        assert_eq!(annotations["nginx.ingress.kubernetes.io/proxy-request-buffering"], "off");
        assert_eq!(annotations["nginx.ingress.kubernetes.io/proxy-buffering"], "off");
    }
}

#[test]
fn the_chart_brings_the_alerts_and_the_dashboard_of_conf() {
    let conf = |path: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(path);
        std::fs::read_to_string(file).expect("the file")
    };
    let installation = charted(Some("s3"));
    let rules = installation.kinds("PrometheusRule").next().expect("alerts");
    assert_eq!(rules.value["spec"], serde_yaml::from_str::<Value>(&conf("prometheus/rules.yml")).expect("YAML"));
    let map = installation.kinds("ConfigMap").find_map(|map| map.value["data"]["entrepot.json"].as_str());
    let dashboard: Value = serde_json::from_str(map.expect("a dashboard")).expect("JSON");
    assert_eq!(dashboard, serde_json::from_str::<Value>(&conf("grafana/entrepot.json")).expect("JSON"));
}

#[test]
fn values_that_cannot_work_are_refused_with_a_reason() {
    for (settings, reason) in [
        (&["nothing.of.the.kind=1"][..], "nothing"),
        (&["storage.type=nfs"], "storage"),
        (&["storage.type=s3"], "storage.s3.bucket is required"),
        (&["drain.timeoutSeconds=5m"], "timeoutSeconds"),
        (&["redis.url=redis://user:secret@redis:6379"], "redis"),
        (&["schedules.gc=daily"], "gc"),
        (&["redis.url=redis://redis:6379"], "needs storage.type s3"),
        (&["autoscaling.enabled=true"], "need storage.type s3"),
        (&["cronJobs.verify.enabled=true"], "need storage.type s3"),
        (&["ingress.enabled=true", "tls.existingSecret=registry-tls"], "exclude each other"),
        (&["auth.rules[0].who[0]=ann", "auth.rules[0].allow[0]=everything"], "allow"),
    ] {
        let mut arguments = vec!["template", "mine", "--kube-version", VERSIONS[0]];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", *setting]));
        let told = helm(&arguments);
        let said = text(&told.stderr);
        assert!(!told.status.success() && said.contains(reason), "{settings:?}: {said}");
    }
}
