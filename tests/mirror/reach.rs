//! Where a remote may lead us, in a network of the test's own: public and private addresses are this machine's there, and names are
//! what the test says. On port 80 of every address stands something that must not be asked.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use parking_lot::Mutex;

use super::world::{mirroring, pull_image, pulls_image};
use crate::harness::remote::Login;
use crate::harness::{FakeRemote, Fault, Manner, Reply, Repository, Rule, Setup, scratch};

const INSIDE: &str = "ENTREPOT_TESTS_OWN_NETWORK";
const PUBLIC: [&str; 3] = ["93.184.216.34", "93.184.216.35", "93.184.216.36"];
const PRIVATE: [&str; 3] = ["10.20.0.5", "10.20.0.6", "10.20.0.7"];
/// Addresses that are nobody's to lead us to, and others beside.
const OTHERS: [&str; 8] = [
    "169.254.169.254/32",
    "100.100.100.200/32",
    "192.168.7.7/32",
    "172.16.0.9/32",
    "fd00:ec2::254/128",
    "fd12::9/128",
    "2606:4700::9/128",
    "fe80::9/64",
];
const SIZE: usize = 20_000;

/// Runs the test that has this name in a network of its own; the part that runs there gets `true`.
fn alone_in_the_network(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let addresses = PUBLIC.iter().chain(&PRIVATE).map(|address| format!("{address}/32"));
    let addresses: Vec<String> = addresses.chain(OTHERS.map(str::to_owned)).collect();
    let folder = scratch();
    let resolver = folder.path().join("resolv.conf");
    std::fs::write(&resolver, "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n").expect("a file");
    let script = format!(
        "set -e; ip link set lo up; for a in {}; do case $a in *:*) ip -6 addr add $a dev lo nodad;; *) ip addr add $a dev lo;; esac; done; \
         mount --bind {} /etc/resolv.conf; exec \"$0\" --exact {name} --nocapture --test-threads 1",
        addresses.join(" "),
        resolver.display()
    );
    let binary = std::env::current_exe().expect("this binary");
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--kill-child", "sh", "-c", &script])
        .arg(binary)
        .env(INSIDE, "1")
        .process_group(0);
    let output = command.output().expect("unshare runs");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    assert!(told.contains("1 passed"), "no test ran inside:\n{told}");
    false
}

/// Whatever connects to port 80 of any address, by the address that it connected to.
struct Trap(Arc<Mutex<Vec<SocketAddr>>>);

impl Trap {
    fn set() -> Self {
        let listener = TcpListener::bind("[::]:80").expect("port 80 of all");
        let sprung: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
        let noting = sprung.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                noting.lock().extend(stream.local_addr());
                let _ = std::io::Write::write_all(
                    &mut &stream,
                    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret",
                );
            }
        });
        Trap(sprung)
    }

    /// Public addresses may be gone to: nothing of ours is there.
    fn sprung(&self) -> Vec<SocketAddr> {
        let public =
            |address: &SocketAddr| PUBLIC.iter().any(|public| public.parse() == Ok(address.ip().to_canonical()));
        self.0.lock().iter().filter(|address| !public(address)).copied().collect()
    }
}

/// A name server that knows these names; of several answers each question gets the next, and the last one again and again.
struct Names(Arc<Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>>);

impl Names {
    fn serve() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").expect("port 53");
        let known: Arc<Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>> = Arc::default();
        let asked = known.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if let Some(answer) = answer(&buffer[..length], &mut asked.lock()) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Names(known)
    }

    fn name(&self, name: &str, answers: &[&[&str]]) {
        let parse =
            |addresses: &&[&str]| addresses.iter().map(|address| address.parse().expect("an address")).collect();
        self.0.lock().insert(name.to_owned(), answers.iter().map(parse).collect());
    }
}

/// RFC 1035: the question is repeated, and behind it come the addresses of the kind that was asked for.
fn answer(question: &[u8], known: &mut BTreeMap<String, Vec<Vec<IpAddr>>>) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let answers = known.get_mut(&labels.join("."));
    let code = if answers.is_some() { 0 } else { 3 };
    let addresses = match answers {
        // One lookup asks for both kinds; only that of IPv4 takes the next answer.
        Some(answers) if answers.len() > 1 && kind == 1 => answers.remove(0),
        Some(answers) => answers.first().cloned().unwrap_or_default(),
        None => Vec::new(),
    };
    let records: Vec<Vec<u8>> = addresses
        .into_iter()
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(address), 1) => Some(address.octets().to_vec()),
            (IpAddr::V6(address), 28) => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut message = question[..2].to_vec();
    message.extend([0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    message.extend(question.get(12..at + 4)?);
    for record in records {
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 0, 0, record.len() as u8]);
        message.extend(record);
    }
    Some(message)
}

/// A remote at these addresses: registry, token service, store.
fn at(manner: Manner, addresses: [&str; 3], names: [&str; 3]) -> FakeRemote {
    let ports = [8080, 8081, 8082];
    let place =
        |index: usize| (format!("{}:{}", addresses[index], ports[index]).parse().expect("an address"), names[index]);
    FakeRemote::start_at(manner, Some([place(0), place(1), place(2)]))
}

const NAMED: [&str; 3] = ["registry.public.example:8080", "auth.public.example:8081", "store.elsewhere.example:8082"];

/// Where nobody is led.
fn nowhere() -> Vec<String> {
    let addresses = [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "0",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "10.20.0.6",
        "[::ffff:10.20.0.6]",
        "192.168.7.7",
        "172.16.0.9",
        "[fd12::9]",
        "[fe80::9]",
        "localhost",
        "local.elsewhere.example",
        "metadata.elsewhere.example",
        "private.elsewhere.example",
        "six.elsewhere.example",
        "rebound.elsewhere.example",
    ];
    addresses.iter().map(|address| format!("http://{address}/latest/meta-data/")).collect()
}

fn names() -> Names {
    let names = Names::serve();
    names.name("registry.public.example", &[&[PUBLIC[0]]]);
    names.name("auth.public.example", &[&[PUBLIC[1]]]);
    names.name("store.elsewhere.example", &[&[PUBLIC[2]]]);
    names.name("registry.private.example", &[&[PRIVATE[0]]]);
    names.name("auth.private.example", &[&[PRIVATE[1]]]);
    names.name("store.private.example", &[&[PRIVATE[2]]]);
    names.name("local.elsewhere.example", &[&["127.0.0.1"]]);
    names.name("metadata.elsewhere.example", &[&["169.254.169.254"]]);
    names.name("private.elsewhere.example", &[&["10.20.0.6"]]);
    names.name("six.elsewhere.example", &[&["::ffff:127.0.0.1", "fd00:ec2::254"]]);
    names.name("localhost", &[&["127.0.0.1", "::1"]]);
    rebind(&names);
    names
}

fn rebind(names: &Names) {
    names.name("rebound.elsewhere.example", &[&[PUBLIC[2]], &["127.0.0.1"]]);
}

fn called(name: &str, change: impl FnOnce(Setup) -> Setup) -> crate::harness::Entrepot {
    let times = "{ manifest = \"2s\", first_byte = \"2s\", connect = \"1s\", read = \"2s\" }";
    let setup = mirroring(&[("hub", "docker.io", "127.0.0.1:1".parse().expect("an address"))])
        .set("remote.hub.url", &format!("\"http://{name}\""))
        .set("remote.hub.timeouts", times)
        .set("remote.hub.tag_ttl", "\"0s\"");
    change(setup).start()
}

fn led(to: &str) -> Fault {
    Fault::Answer(Reply::new(307).header("Location", to))
}

#[test]
fn a_public_remote_leads_nobody_into_this_network() {
    if !alone_in_the_network("mirror::reach::a_public_remote_leads_nobody_into_this_network") {
        return;
    }
    let (trap, names) = (Trap::set(), names());
    let fake = at(Manner::hub(), PUBLIC, NAMED);
    let image = fake.put("team/app", "1", 1, SIZE);
    let other = fake.put("team/app", "2", 2, SIZE);
    let entrepot = called(NAMED[0], |setup| setup);
    let client = Repository::at(entrepot.address, "docker.io/team/app");
    pulls_image(&client, "1", &image);
    for place in nowhere() {
        for (what, target) in [("blob", other.layers[0].as_str()), ("manifest", "/manifests/2"), ("token", "")] {
            rebind(&names);
            match what {
                "token" => {
                    fake.expire_tokens();
                    let challenge = format!(
                        "Bearer realm=\"{place}token\",service=\"registry.fake\",scope=\"repository:team/app:pull\""
                    );
                    let reply = Reply::new(401).header("WWW-Authenticate", challenge);
                    fake.wire.on(Rule::new("", "/v2/", Fault::Answer(reply)));
                }
                _ => drop(fake.wire.on(Rule::new("", target, led(&place)))),
            }
            let answer = match what {
                "blob" => client.get_blob(&other.layers[0]),
                _ => client.get_manifest("2"),
            };
            assert_ne!(answer.status, 200, "{what} {place}");
            assert!(!answer.text().contains("secret"), "{what} {place}");
            assert_eq!(trap.sprung(), [], "{what} at {place}");
            fake.forget_rules();
        }
        // Nothing of it makes the remote one that is down for ever.
        crate::harness::eventually("the remote is asked again", || {
            client.get_manifest("1").header("warning").is_none()
        });
    }
    crate::harness::eventually("it is well", || pull_image(&client, "2", &other).is_ok());
}

#[test]
fn a_private_remote_has_its_own_store_and_leads_no_further() {
    if !alone_in_the_network("mirror::reach::a_private_remote_has_its_own_store_and_leads_no_further") {
        return;
    }
    let (trap, _names) = (Trap::set(), names());
    let named = ["registry.private.example:8080", "auth.private.example:8081", "store.private.example:8082"];
    for manner in [Manner::hub(), Manner { login: Login::None, ..Manner::hub() }] {
        let fake = at(manner, PRIVATE, named);
        let image = fake.put("team/app", "1", 1, SIZE);
        for url in [named[0], "10.20.0.5:8080"] {
            let entrepot = called(url, |setup| setup);
            let client = Repository::at(entrepot.address, "docker.io/team/app");
            pulls_image(&client, "1", &image);
            let other = fake.put("team/app", "2", 2, SIZE);
            for place in [
                "http://127.0.0.1/",
                "http://[::1]/",
                "http://169.254.169.254/",
                "http://[fe80::9]/",
                "http://local.elsewhere.example/",
            ] {
                fake.wire.on(Rule::new("GET", &other.layers[0], led(place)));
                assert_ne!(client.get_blob(&other.layers[0]).status, 200, "{place}");
                assert_eq!(trap.sprung(), [], "{place}");
                fake.forget_rules();
            }
        }
    }
}

#[test]
fn a_public_remote_may_lead_into_a_private_network_where_that_was_told_and_no_further() {
    if !alone_in_the_network(
        "mirror::reach::a_public_remote_may_lead_into_a_private_network_where_that_was_told_and_no_further",
    ) {
        return;
    }
    let (trap, _names) = (Trap::set(), names());
    let places = [PUBLIC[0], PUBLIC[1], PRIVATE[2]];
    let fake = at(Manner::hub(), places, [NAMED[0], NAMED[1], "store.private.example:8082"]);
    let image = fake.put("team/app", "1", 1, SIZE);
    let strict = called(NAMED[0], |setup| setup);
    let client = Repository::at(strict.address, "docker.io/team/app");
    assert!(pull_image(&client, "1", &image).is_err());
    assert!(fake.store.seen().is_empty());
    let told = called(NAMED[0], |setup| setup.set("remote.hub.allow_private", "true"));
    let client = Repository::at(told.address, "docker.io/team/app");
    pulls_image(&client, "1", &image);
    let other = fake.put("team/app", "2", 2, SIZE);
    for place in ["http://169.254.169.254/", "http://127.0.0.1/", "http://[fe80::9]/", "http://[fd00:ec2::254]/"] {
        fake.wire.on(Rule::new("GET", &other.layers[0], led(place)));
        assert_ne!(client.get_blob(&other.layers[0]).status, 200, "{place}");
        assert_eq!(trap.sprung(), [], "{place}");
        fake.forget_rules();
    }
}

/// Credentials go to the registrable domain of the remote, and not to one that looks like it.
#[test]
fn credentials_go_to_token_services_of_the_same_domain_alone() {
    if !alone_in_the_network("mirror::reach::credentials_go_to_token_services_of_the_same_domain_alone") {
        return;
    }
    let names = names();
    let files = super::world::folder();
    for (number, (realm, shown)) in [
        ("auth.public.example:8081", true),
        ("auth.evilpublic.example:8081", false),
        ("public.example.attacker.example:8081", false),
        ("auth.elsewhere.example:8081", false),
        ("93.184.216.35:8081", false),
    ]
    .into_iter()
    .enumerate()
    {
        if let Some((host, _)) = realm.split_once(':').filter(|(host, _)| host.parse::<IpAddr>().is_err()) {
            names.name(host, &[&[PUBLIC[1]]]);
        }
        let password = format!("the-password-{number}");
        let manner = Manner::hub().user("mirror", &password).private("team/app", &["mirror"]);
        let fake = at(manner, PUBLIC, [NAMED[0], realm, NAMED[2]]);
        let image = fake.put("team/app", "1", 1, SIZE);
        let login = super::world::login(&files, "mirror", &password);
        let entrepot = called(NAMED[0], |setup| setup.set("remote.hub.credentials", &format!("[{login}]")));
        let client = Repository::at(entrepot.address, "docker.io/team/app");
        assert_eq!(pull_image(&client, "1", &image).is_ok(), shown, "{realm}");
        let told = fake.authorizations().iter().any(|(_, value)| value.starts_with("Basic "));
        assert_eq!(told, shown, "{realm}");
    }
}
