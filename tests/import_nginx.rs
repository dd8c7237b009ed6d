//! `entrepot import nginx`: every file under tests/import/nginx becomes a configuration that `check` is content with and that says what
//! the file's first lines expect; and before one and the same registry the result answers as nginx does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::entrepot::BINARY;
use crate::harness::nginx::Nginx;
use crate::harness::repository::{ACCEPT, OCI_MANIFEST, location, with_digest};
use crate::harness::{
    Answer, Authority, Entrepot, Registry, Repository, Request, Setup, digest, random_bytes, scratch,
};

/// bcrypt of "1234", at the least cost.
fn users(folder: &Path) -> String {
    let output = Command::new("htpasswd").args(["-nbB", "-C", "4", "ann", "1234"]).output().expect("htpasswd runs");
    let text = String::from_utf8(output.stdout).expect("text");
    for name in ["users", "conf.d/users"] {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, &text).expect("written");
    }
    text
}

/// A folder in the place of /etc/nginx, with what the files name.
fn nginx_home() -> tempfile::TempDir {
    let folder = scratch();
    users(folder.path());
    let authority = Authority::new();
    for (certificate, key) in [
        ("conf.d/domain.crt", "conf.d/domain.key"),
        ("cert/server.crt", "cert/server.key"),
        ("tls/a.crt", "tls/a.key"),
        ("tls/b.crt", "tls/b.key"),
    ] {
        let issued = authority.issue(&certificate.replace(['/', '.'], "-"), &["registry.example.com"]);
        for (name, file) in [(certificate, issued.certificate), (key, issued.key)] {
            let to = folder.path().join(name);
            std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
            std::fs::copy(file, to).expect("copied");
        }
    }
    std::fs::copy(authority.path(), folder.path().join("tls/ca.crt")).expect("copied");
    std::fs::create_dir_all(folder.path().join("snippets")).expect("made");
    std::fs::write(folder.path().join("snippets/timeouts.conf"), "proxy_connect_timeout 7;\n").expect("written");
    folder
}

fn entrepot(arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENTREPOT_") || name.starts_with("REGISTRY_"))
    {
        command.env_remove(name);
    }
    command.args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Comments may be broken anywhere, and columns be wide.
fn collapsed(text: &str) -> String {
    text.split_whitespace().filter(|word| *word != "#").collect::<Vec<_>>().join(" ")
}

fn shapes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/nginx");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("the folder").flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

#[test]
fn every_shape_becomes_a_configuration_that_is_good() {
    let files = shapes();
    assert!(files.len() >= 13, "{files:?}");
    let failures: Vec<String> = files.iter().filter_map(|file| judge(file).err()).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}

fn judge(file: &Path) -> Result<(), String> {
    let home = nginx_home();
    let here = home.path().display().to_string();
    let source = std::fs::read_to_string(file).expect("the file reads").replace("/etc/nginx", &here);
    let expected: Vec<&str> =
        source.lines().take_while(|line| line.starts_with("# told: ") || line.starts_with("# lacks: ")).collect();
    // A server or a location is left out, and the last of these lines says so.
    let partly = source.lines().nth(expected.len()) == Some("# exit: 3");
    let main = home.path().join("nginx.conf");
    std::fs::write(&main, &source).expect("written");
    let output = home.path().join("entrepot.toml");
    let (main, output) = (main.to_str().expect("UTF-8"), output.to_str().expect("UTF-8"));

    let imported = entrepot(&["import", "nginx", main, "--output", output]);
    let made = std::fs::read_to_string(output).unwrap_or_default();
    let fault = |what: &str| Err(format!("{}: {what}\n{}\n{made}", file.display(), text(&imported.stderr)));
    if imported.status.code() != Some(if partly { 3 } else { 0 }) {
        return fault(&format!("was imported with {}", imported.status));
    }
    let told = collapsed(&made);
    for line in &expected {
        let (want, there) = match line.strip_prefix("# told: ") {
            Some(want) => (want, true),
            None => (line.trim_start_matches("# lacks: "), false),
        };
        let elsewhere = text(&imported.stderr).contains(want) && !there;
        if told.contains(&collapsed(want)) != there || elsewhere {
            return fault(&format!("is not as expected: {line}"));
        }
    }
    let checked = entrepot(&["check", output]);
    if expected.is_empty() || !checked.status.success() {
        return fault(&format!("check says: {}", text(&checked.stderr)));
    }
    if !text(&imported.stderr).contains("entrepot.toml: ok") {
        return fault("was not checked");
    }
    // What goes to stdout is the same, but for where a password is.
    let printed = text(&entrepot(&["import", "nginx", main]).stdout);
    match made.contains("password_file") || printed == made {
        true => Ok(()),
        false => fault("is another on stdout"),
    }
}

#[test]
fn a_password_goes_into_a_file_for_its_owner_and_nothing_is_written_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = scratch();
    let main = home.path().join("nginx.conf");
    let shape = std::fs::read_to_string(
        shapes().into_iter().find(|file| file.ends_with("fixed_login.conf")).expect("it is there"),
    );
    std::fs::write(&main, shape.expect("the file reads")).expect("written");
    let output = home.path().join("entrepot.toml");
    let arguments = ["import", "nginx", main.to_str().expect("UTF-8"), "--output", output.to_str().expect("UTF-8")];
    assert!(entrepot(&arguments).status.success());
    let files: Vec<PathBuf> =
        std::fs::read_dir(home.path()).expect("the folder").flatten().map(|entry| entry.path()).collect();
    let secret =
        files.iter().find(|file| file.extension().is_some_and(|end| end == "password")).expect("a password's file");
    assert_eq!(std::fs::read_to_string(secret).expect("it reads"), "s3cret-of-nginx");
    assert_eq!(std::fs::metadata(secret).expect("it is there").permissions().mode() & 0o777, 0o600);
    let again = entrepot(&arguments);
    assert!(!again.status.success() && text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
    let absent = entrepot(&["import", "nginx", "/nowhere/nginx.conf"]);
    assert!(absent.stdout.is_empty() && text(&absent.stderr).starts_with("/nowhere/nginx.conf: cannot read"));
}

/// nginx with a section, and Entrepot with what is made of the same section.
fn both(section: impl Fn(&str) -> String) -> (Nginx, Entrepot) {
    let nginx = Nginx::start(|address| section(&address.to_string()));
    let folder = scratch();
    let file = folder.path().join("registry.conf");
    std::fs::write(&file, section("127.0.0.1:5999")).expect("written");
    let imported = entrepot(&["import", "nginx", file.to_str().expect("UTF-8")]);
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    (nginx, started(&text(&imported.stdout)))
}

/// What was imported, serving; its socket for commands is nobody else's.
fn started(imported: &str) -> Entrepot {
    let (table, folder) = (imported.parse().expect("TOML"), scratch());
    let socket = folder.path().join("run/admin.sock");
    Setup::of(table).set("admin.unix", &format!("{:?}", socket.display().to_string())).start()
}

/// What clients look at: status, fields, body.
fn seen(answer: &Answer) -> String {
    let fields = ["content-type", "content-length", "docker-content-digest", "content-range", "x-shown"];
    let fields: Vec<String> = fields
        .iter()
        .filter_map(|name| Some(format!("{name}: {}", answer.header(name)?.trim_end_matches("; charset=utf-8"))))
        .collect();
    // Errors are told in words of their own, with the same codes; a list that Entrepot makes of what the peers list has no line's end.
    match answer.status < 400 {
        true if answer.body.starts_with(b"{\"repositories\"") => format!("{} {:#}", answer.status, answer.json()),
        true => format!("{} {} {}", answer.status, fields.join(", "), digest(&answer.body)),
        false => answer.status.to_string(),
    }
}

/// Asks both the same; what comes of it must be the same too.
#[track_caller]
fn same(nginx: &Nginx, entrepot: &Entrepot, what: &str, request: impl Fn() -> Request) {
    let (theirs, ours) = (request().send(nginx.address), request().send(entrepot.address));
    assert_eq!(seen(&ours), seen(&theirs), "{what}\nnginx: {:?}\nentrepot: {:?}", theirs.headers, ours.headers);
}

/// A table of reads, for whoever `by` makes the request's author.
#[track_caller]
fn reads(
    nginx: &Nginx,
    entrepot: &Entrepot,
    repository: &Repository,
    image: &crate::harness::Image,
    by: impl Fn(Request) -> Request,
) {
    let absent = format!("sha256:{}", "0".repeat(64));
    let layer = image.layers.first().expect("a layer");
    let manifest = repository.manifest("v1");
    for (what, method, target, range) in [
        ("a tag", "GET", manifest.clone(), ""),
        ("a tag's HEAD", "HEAD", manifest, ""),
        ("a manifest", "GET", repository.manifest(&image.digest), ""),
        ("a manifest's HEAD", "HEAD", repository.manifest(&image.digest), ""),
        ("a blob", "GET", repository.blob(layer), ""),
        ("a blob again", "GET", repository.blob(layer), ""),
        ("a blob's HEAD", "HEAD", repository.blob(layer), ""),
        ("a part of a blob", "GET", repository.blob(layer), "bytes=10-99"),
        ("the end of a blob", "GET", repository.blob(layer), "bytes=-7"),
        ("no such tag", "GET", repository.manifest("absent"), ""),
        ("no such manifest", "HEAD", repository.manifest(&absent), ""),
        ("no such blob", "GET", repository.blob(&absent), ""),
        ("no such blob's HEAD", "HEAD", repository.blob(&absent), ""),
        ("tags", "GET", format!("/v2/{}/tags/list", repository.name), ""),
        ("no such repository's tags", "GET", "/v2/nobody/has/tags/list".to_owned(), ""),
        ("the catalog", "GET", "/v2/_catalog".to_owned(), ""),
        ("no path of a registry", "GET", "/nothing/here".to_owned(), ""),
    ] {
        same(nginx, entrepot, what, || {
            let request = by(Request::new(method, target.clone()).header("Accept", ACCEPT));
            if range.is_empty() { request } else { request.header("Range", range) }
        });
    }
}

#[test]
fn before_two_registries_the_result_answers_as_nginx_does() {
    let (one, other, _volume) = Registry::pair();
    let section = |address: &str| {
        format!(
            "upstream docker-registry {{
        least_conn;
        server {} max_fails=3 fail_timeout=30s;
        server {} max_fails=3 fail_timeout=30s;
    }}
    server {{
        listen {address};
        server_name localhost;
        client_max_body_size 0;
        chunked_transfer_encoding on;
        add_header X-Shown yes always;
        location / {{
            proxy_pass http://docker-registry;
            proxy_set_header Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_read_timeout 900;
            proxy_next_upstream error timeout http_502 http_503 http_504;
        }}
    }}",
            one.address, other.address
        )
    };
    let (nginx, entrepot) = both(section);
    same(&nginx, &entrepot, "a ping", || Request::get("/v2/"));
    let image = Repository::at(one.address, "team/app").push_random("v1", 1, 300_000);
    let repository = Repository::at(entrepot.address, "team/app");
    reads(&nginx, &entrepot, &repository, &image, |request| request);
    // An image pushed by one is the other's too. Both registries have a secret of their own, so nginx has one peer for a push's parts by
    // chance alone: what is pushed by it is a manifest.
    let pushed = Repository::at(entrepot.address, "team/new").push_random("v2", 2, 3_000_000);
    same(&nginx, &entrepot, "what was pushed", || {
        Request::get(format!("/v2/team/new/manifests/{}", pushed.digest)).header("Accept", ACCEPT)
    });
    same(&nginx, &entrepot, "a manifest's push", || {
        let target = format!("/v2/team/new/manifests/{}", pushed.digest);
        Request::new("PUT", target).header("Content-Type", OCI_MANIFEST).body(pushed.manifest.clone())
    });
    same(&nginx, &entrepot, "a manifest that is none", || {
        Request::new("PUT", "/v2/team/new/manifests/bad").header("Content-Type", OCI_MANIFEST).body("{")
    });
}

#[test]
fn a_login_is_asked_for_where_nginx_asks_for_it() {
    let registry = Registry::debian().start();
    let home = nginx_home();
    let here = home.path().display().to_string();
    let section = |address: &str| {
        format!(
            "server {{
        listen {address};
        client_max_body_size 0;
        location /v2/ {{
            if ($http_user_agent ~ \"^(docker\\/1\\.(3|4|5(?!\\.[0-9]-dev))|Go ).*$\" ) {{ return 404; }}
            auth_basic Registry;
            auth_basic_user_file {here}/users;
            proxy_pass http://{};
            proxy_set_header Host $http_host;
        }}
    }}",
            registry.address
        )
    };
    let (nginx, entrepot) = both(section);
    let image = Repository::at(registry.address, "team/app").push_random("v1", 1, 200_000);
    let repository = Repository::at(entrepot.address, "team/app");
    same(&nginx, &entrepot, "a ping", || Request::get("/v2/").basic("ann", "1234"));
    reads(&nginx, &entrepot, &repository, &image, |request| request.basic("ann", "1234"));
    for (what, login) in [("nobody", None), ("a wrong password", Some("4321"))] {
        for (method, target) in [
            ("GET", "/v2/".to_owned()),
            ("GET", repository.manifest("v1")),
            ("HEAD", repository.blob(&image.layers[0])),
            ("POST", repository.uploads()),
            ("DELETE", repository.manifest(&image.digest)),
        ] {
            same(&nginx, &entrepot, &format!("{what}: {method} {target}"), || {
                let request = Request::new(method, target.clone());
                login.map_or(Request::new(method, target.clone()), |password| request.basic("ann", password))
            });
        }
    }
    for (address, name) in [(nginx.address, "by/nginx"), (entrepot.address, "by/entrepot")] {
        let pushed = Repository::at(address, name).basic("ann", "1234").push_random("v1", 5, 400_000);
        same(&nginx, &entrepot, name, || {
            Request::get(format!("/v2/{name}/blobs/{}", pushed.layers[0])).basic("ann", "1234")
        });
    }
}

#[test]
fn pulls_are_open_and_pushes_are_not_where_nginx_has_it_so() {
    let registry = Registry::debian().start();
    let home = nginx_home();
    let here = home.path().display().to_string();
    let section = |address: &str| {
        format!(
            "proxy_cache_path {here}/cache keys_zone=blobs:1m max_size=100m;
    server {{
        listen {address};
        client_max_body_size 1m;
        location /v2/ {{
            limit_except GET HEAD {{ auth_basic push; auth_basic_user_file {here}/users; }}
            proxy_pass http://{0};
            proxy_set_header Host $http_host;
        }}
        location ~ ^/v2/.*/blobs/sha256: {{
            limit_except GET HEAD {{ auth_basic push; auth_basic_user_file {here}/users; }}
            proxy_pass http://{0};
            proxy_cache blobs;
            proxy_cache_valid 200 1h;
        }}
    }}",
            registry.address
        )
    };
    let (nginx, entrepot) = both(section);
    let image = Repository::at(registry.address, "team/app").push_random("v1", 1, 200_000);
    let repository = Repository::at(entrepot.address, "team/app");
    // Clients find out at /v2/ that they can log in, so that it asks for a login where any is asked for, as the import says.
    let ping = |address| Request::get("/v2/").send(address).status;
    assert_eq!((ping(nginx.address), ping(entrepot.address)), (200, 401));
    // The catalog is a pull in nginx, and so it is here.
    reads(&nginx, &entrepot, &repository, &image, |request| request);
    let upload = |login: bool| {
        let request = Request::new("POST", repository.uploads());
        if login { request.basic("ann", "1234") } else { request }
    };
    same(&nginx, &entrepot, "nobody begins an upload", || upload(false));
    assert_eq!((upload(true).send(nginx.address).status, upload(true).send(entrepot.address).status), (202, 202));
    // Above a megabyte nginx refuses; nothing is too large here, as the import says.
    let large = random_bytes(3, 2_000_000);
    let push = |address| {
        let upload = with_digest(&location(&upload(true).send(address)), &digest(&large));
        Request::new("PUT", upload).basic("ann", "1234").body(large.clone()).send(address).status
    };
    assert_eq!((push(nginx.address), push(entrepot.address)), (413, 201));
}

#[test]
fn who_may_only_read_is_refused_by_both_and_plain_http_leads_to_https() {
    let registry = Registry::debian().start();
    let section = |address: &str| {
        format!(
            "server {{
        listen {address};
        location /v2/ {{ limit_except GET {{ deny all; }} proxy_pass http://{}; }}
    }}",
            registry.address
        )
    };
    let (nginx, entrepot) = both(section);
    let image = Repository::at(registry.address, "team/app").push_random("v1", 1, 100_000);
    let repository = Repository::at(entrepot.address, "team/app");
    reads(&nginx, &entrepot, &repository, &image, |request| request);
    // nginx says 403, and we what the specification has for it.
    for (method, target) in [("POST", repository.uploads()), ("DELETE", repository.manifest(&image.digest))] {
        let ask = |address| Request::new(method, target.clone()).send(address).status;
        assert_eq!((ask(nginx.address), ask(entrepot.address)), (403, 405), "{method}");
    }

    let home = nginx_home();
    let here = home.path().display().to_string();
    let (nginx, entrepot) = both(|address| {
        format!(
            "server {{ listen {address}; server_name r.example; return 301 https://$host$request_uri; }}
    server {{
        listen 127.0.0.1:{}; listen 127.0.0.1:{} ssl; server_name r.example;
        ssl_certificate {here}/tls/a.crt; ssl_certificate_key {here}/tls/a.key;
        location / {{ proxy_pass http://{}; }}
    }}",
            crate::harness::ports::free().port(),
            crate::harness::ports::free().port(),
            registry.address
        )
    });
    let ask = |address| Request::get("/v2/team/app/tags/list?n=1").header("Host", "r.example").send(address);
    let (theirs, ours) = (ask(nginx.address), ask(entrepot.address));
    assert_eq!((theirs.status, ours.status), (301, 308));
    assert_eq!(theirs.header("location"), Some("https://r.example/v2/team/app/tags/list?n=1"));
    assert_eq!(ours.header("location"), theirs.header("location"));
}

#[test]
fn the_registrys_login_that_nginx_adds_is_added() {
    let registry = Registry::debian().account("puller", "of-nginx").start();
    let login = crate::harness::http::basic("puller", "of-nginx");
    let section = |address: &str| {
        format!(
            "server {{
        listen {address};
        location /v2/ {{ proxy_pass http://{}; proxy_set_header Authorization \"{login}\"; proxy_set_header Host $http_host; }}
    }}",
            registry.address
        )
    };
    let nginx = Nginx::start(|address| section(&address.to_string()));
    let folder = scratch();
    let file = folder.path().join("registry.conf");
    std::fs::write(&file, section("127.0.0.1:5999")).expect("written");
    let output = folder.path().join("entrepot.toml");
    let arguments = ["import", "nginx", file.to_str().expect("UTF-8"), "--output", output.to_str().expect("UTF-8")];
    assert!(entrepot(&arguments).status.success());
    let entrepot = started(&std::fs::read_to_string(&output).expect("written"));
    let image = Repository::at(registry.address, "team/app").basic("puller", "of-nginx").push_random("v1", 1, 100_000);
    let repository = Repository::at(entrepot.address, "team/app");
    reads(&nginx, &entrepot, &repository, &image, |request| request);
    reads(&nginx, &entrepot, &repository, &image, |request| request.basic("somebody", "else"));
}

/// The file has a socket for commands, and says who may use them once a name is written there.
#[test]
fn commands_reach_what_was_imported() {
    let (registry, home) = (Registry::debian().start(), nginx_home());
    let users = home.path().join("users").display().to_string();
    let file = home.path().join("registry.conf");
    let section = format!(
        "server {{ listen 127.0.0.1:5999; location / {{ auth_basic Registry; auth_basic_user_file {users}; proxy_pass http://{}; }} }}",
        registry.address
    );
    std::fs::write(&file, section).expect("written");
    let imported = entrepot(&["import", "nginx", file.to_str().expect("UTF-8")]);
    assert_eq!(imported.status.code(), Some(0), "{}", text(&imported.stderr));
    let made = text(&imported.stdout);
    assert!(made.contains("unix = \"/run/entrepot/admin.sock\""), "{made}");
    // As the comment has it.
    let named =
        made.replace("# [[auth.rule]]", "[[auth.rule]]").replace("# who = [\"user:NAME\"]", "who = [\"user:ann\"]");
    let named = named.replace("# allow = [\"admin\"]", "allow = [\"admin\"]");
    let folder = scratch();
    // Made with the socket in it, as below /run after each start of the machine.
    let socket = folder.path().join("run/admin.sock").display().to_string();
    let setup = Setup::of(named.parse().expect("TOML")).set("admin.unix", &format!("{socket:?}"));
    let serving = setup.start();
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(arguments).args(["--admin", &socket]).env("ENTREPOT_ADMIN_PASSWORD", "1234");
        command.output().expect("the binary runs")
    };
    let absent = format!("sha256:{}", "a".repeat(64));
    let stranger = entrepot(&["status", "--admin", &socket]);
    assert_eq!(stranger.status.code(), Some(1));
    assert!(text(&stranger.stderr).contains("answered 401"), "{}", text(&stranger.stderr));
    for command in [["status", "--user", "ann"].as_slice(), &["cache", "purge", &absent, "--user", "ann"]] {
        let done = ask(command);
        assert!(done.status.success(), "{command:?}: {}", text(&done.stderr));
    }
    // An upgrade is taken there, and needs no login.
    let refused =
        Command::new(BINARY).args(["upgrade", "/bin/true", "--admin", &socket]).output().expect("the binary runs");
    assert!(text(&refused.stderr).contains("the successor ended before it came to us"), "{}", text(&refused.stderr));
    Request::get("/v2/").basic("ann", "1234").send(serving.address).expect(200);
}

#[test]
fn a_server_that_is_not_there_is_refused_with_the_names_of_those_that_are() {
    let home = nginx_home();
    let main = home.path().join("nginx.conf");
    let shape = shapes().into_iter().find(|file| file.ends_with("many_hosts.conf")).expect("it is there");
    std::fs::write(&main, std::fs::read_to_string(shape).expect("the file reads")).expect("written");
    let refused = entrepot(&["import", "nginx", main.to_str().expect("UTF-8"), "--server", "nosuch"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("no server has the `server_name` nosuch; there are: "), "{said}");
    assert!(said.contains("dev.example.com") && said.contains("prod.example.com"), "{said}");
    assert!(refused.stdout.is_empty());
}
