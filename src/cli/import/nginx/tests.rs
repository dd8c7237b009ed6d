//! What is read, and what becomes of it; whole files are in tests/import/nginx.

use std::collections::BTreeMap;

use super::access::{Condition, rules};
use super::scope::Scope;
use super::tree::Directive;
use super::*;

/// Files that are nowhere but here.
pub struct These(pub BTreeMap<&'static str, String>);

impl Files for These {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        let file = path.to_str().and_then(|path| self.0.get(path));
        file.map(|text| text.clone().into_bytes()).ok_or_else(|| "cannot read it: not found".into())
    }

    fn matching(&self, pattern: &Path) -> Result<Vec<PathBuf>, String> {
        Ok(self.0.keys().map(PathBuf::from).filter(|path| path == pattern).collect())
    }
}

fn parsed(text: &str) -> Result<Vec<Directive>, String> {
    let files = These([("n", text.to_owned()), ("more", "inner a;\nouter { b; }".to_owned())].into());
    parse::parse(&files, Path::new("n"), &mut Notes::default()).map_err(|fault| fault.to_string())
}

fn shown(directives: &[Directive]) -> String {
    let one = |directive: &Directive| {
        let words = [std::slice::from_ref(&directive.name), &directive.args].concat();
        let words: Vec<String> = words.iter().map(|word| format!("<{word}>")).collect();
        let block = directive.block.as_ref().map(|inner| format!("{{{}}}", shown(inner))).unwrap_or_default();
        format!("{}{block}", words.concat())
    };
    directives.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn words(text: &str) -> String {
    shown(&parsed(text).unwrap())
}

#[test]
fn words_are_those_of_nginx() {
    for (text, told) in [
        ("a b  c;", "<a><b><c>"),
        ("a;b;", "<a> <b>"),
        ("a 'b c' \"d;{}\" e;", "<a><b c><d;{}><e>"),
        ("a 'it\\'s' \"\\\"\\\\\\n\";", "<a><it's><\"\\\n>"),
        ("a b\\;c \\.d;", "<a><b\\;c><\\.d>"),
        ("a ${b}c $d{e;} #x\n#y;\n", "<a><${b}c><$d>{<e>}"),
        ("if ($a ~ \"^b$\") { c; }", "<if><($a><~><^b$><)>{<c>}"),
        ("a#b;", "<a#b>"),
        ("\u{feff}a { b { c; } d; }", "<a>{<b>{<c>} <d>}"),
        ("a '';", "<a><>"),
        ("x_by_lua_block { if a then return \"}\" -- }\n end [[ } ]] { } }\nb;", "<x_by_lua_block>{} <b>"),
        ("include more;\nz;", "<inner><a> <outer>{<b>} <z>"),
        ("a { include more; }", "<a>{<inner><a> <outer>{<b>}}"),
        ("include absent;", "<include><absent>"),
        ("include absent/*.conf;", ""),
    ] {
        assert_eq!(words(text), told, "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_at_its_line() {
    for (text, told) in [
        ("a;\nb", "n:2: the file ends within"),
        ("a {\nb;\n", "n:1: the block that begins here has no end"),
        ("a;\n}", "n:2: unexpected \"}\""),
        ("\n;", "n:2: unexpected \";\""),
        ("\n{ }", "n:2: unexpected \"{\""),
        ("a { b }", "n:1: unexpected \"}\""),
        ("a\n'b\n", "n:2: the text that is quoted from here on has no end"),
        ("a 'b'c;", "n:1: unexpected 'c' behind a quoted text"),
        ("x_by_lua_block {\n", "n:1: the block that begins here has no end"),
        ("include n;", "does one include itself?"),
        (format!("a {};", "b".repeat(20_000)).as_str(), "n:1: a word is longer"),
        (format!("a {};", "b ".repeat(5000)).as_str(), "n:1: more than 4096 words"),
        ("a { ".repeat(30).as_str(), "n:1: more than 20 blocks"),
        ("a;".repeat(100_001).as_str(), "n:1: more than 100000 directives"),
    ] {
        let fault = parsed(text).unwrap_err();
        assert!(fault.contains(told), "{told}: {fault}");
    }
    assert!(
        read(&These(BTreeMap::new()), Path::new("n"), None, &[])
            .is_err_and(|fault| fault.to_string().starts_with("n: cannot read"))
    );
}

#[test]
fn spans_and_sizes_are_those_of_nginx() {
    use std::time::Duration;
    for (text, milliseconds) in [
        ("900", 900_000),
        ("30s", 30_000),
        ("1h 30m", 5_400_000),
        ("1h30m", 5_400_000),
        ("500ms", 500),
        ("1d", 86_400_000),
        ("2w", 1_209_600_000),
        ("1M", 2_592_000_000),
        ("0", 0),
    ] {
        assert_eq!(values::span(text), Some(Duration::from_millis(milliseconds)), "{text}");
    }
    for text in ["", "s", "1x", "1 s 2", "-1", "99y", "1.5h", "99999999999999999999s"] {
        assert_eq!(values::span(text), None, "{text}");
    }
    for (text, bytes) in [("0", 0), ("10", 10), ("64k", 64 << 10), ("20M", 20 << 20), ("1g", 1 << 30)] {
        assert_eq!(values::size(text), Some(bytes), "{text}");
    }
    for text in ["", "k", "1t", "-1", "1.5m", "+1", "99999999999999g"] {
        assert_eq!(values::size(text), None, "{text}");
    }
}

#[test]
fn addresses_are_those_of_listeners() {
    let listen = |text: &str| {
        let directive = parsed(format!("listen {text};").as_str()).unwrap().remove(0);
        values::listen(&directive)
            .map(|all| all.iter().map(|one| one.address.to_string()).collect::<Vec<_>>().join(" "))
    };
    for (text, address) in [
        ("80", "0.0.0.0:80"),
        ("*:5000", "0.0.0.0:5000"),
        ("127.0.0.1", "127.0.0.1:80"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("localhost:81", "127.0.0.1:81"),
        ("[::]:443 ssl", "[::]:443"),
        ("[::1]", "[::1]:80"),
        ("[::]:80 ipv6only=off", "[::]:80 0.0.0.0:80"),
        ("unix:/run/n.sock", "unix:/run/n.sock"),
    ] {
        assert_eq!(listen(text), Ok(address.to_owned()), "{text}");
    }
    for text in ["unix:run/n.sock", "0", "registry:80", "443 quic", "99999", "[::]:0", "80x"] {
        assert!(listen(text).is_err(), "{text}");
    }
}

/// Who may, by rules, of the directives of a location.
fn said(text: &str) -> Result<String, String> {
    let directives = parsed(text).unwrap();
    let access = access::Access::of(&Scope::new(&directives))?;
    let one = |said: access::Said| {
        let from: Vec<String> = said.from.iter().map(ToString::to_string).collect();
        format!("{}{} {} [{}]", if said.allow { "" } else { "not " }, said.who, said.words.join(","), from.join(" "))
    };
    Ok(rules(&access).into_iter().map(one).collect::<Vec<_>>().join("; "))
}

#[test]
fn who_may_is_who_may_in_nginx() {
    const ALL: &str = "pull,catalog,push,overwrite,delete";
    let login = "auth_basic x; auth_basic_user_file u;";
    for (text, told) in [
        ("", format!("anonymous {ALL} []")),
        ("auth_basic off; auth_basic_user_file u;", format!("anonymous {ALL} []")),
        (login, format!("authenticated {ALL} []")),
        ("allow 10.0.0.1; allow ::1; deny all;", format!("anonymous {ALL} [10.0.0.1/32 ::1/128]")),
        ("deny all;", String::new()),
        ("allow all;", format!("anonymous {ALL} []")),
        ("allow all; deny 10.0.0.0/8;", format!("anonymous {ALL} []")),
        ("deny 10.0.0.0/8;", format!("anonymous {ALL} []; not * {ALL} [10.0.0.0/8]")),
        // The first line that has an address decides.
        ("allow 10.0.0.0/31; deny 10.0.0.0/30; allow all;", format!("anonymous {ALL} []; not * {ALL} [10.0.0.2/31]")),
        ("deny 10.0.0.0/31; allow 10.0.0.0/30; deny all;", format!("anonymous {ALL} [10.0.0.2/31]")),
        ("deny 10.0.0.0/8; allow 10.0.0.1; deny all;", String::new()),
        (format!("{login} allow 10.0.0.0/8; deny all;").as_str(), format!("authenticated {ALL} [10.0.0.0/8]")),
        (
            format!("satisfy any; {login} allow 10.0.0.0/8; deny all;").as_str(),
            format!("anonymous {ALL} [10.0.0.0/8]; authenticated {ALL} []"),
        ),
        (format!("satisfy any; {login} deny all;").as_str(), format!("authenticated {ALL} []")),
        // Who is in no line has no address that is enough.
        (
            format!("satisfy any; {login} allow 10.0.0.0/8;").as_str(),
            format!("anonymous {ALL} [10.0.0.0/8]; authenticated {ALL} []"),
        ),
        (format!("satisfy any; {login} deny 10.0.0.0/8;").as_str(), format!("authenticated {ALL} []")),
        (format!("satisfy any; {login}").as_str(), format!("authenticated {ALL} []")),
        (format!("auth_delay 1s; auth_request off; {login}").as_str(), format!("authenticated {ALL} []")),
        (
            format!("limit_except GET HEAD {{ {login} }}").as_str(),
            "anonymous pull,catalog []; authenticated push,overwrite,delete []".into(),
        ),
        ("limit_except GET { deny all; }", "anonymous pull,catalog []".into()),
        ("limit_except GET POST PUT PATCH { deny all; }", "anonymous pull,catalog,push,overwrite []".into()),
        ("if ($request_method = DELETE) { return 405; }", "anonymous pull,catalog,push,overwrite []".into()),
        ("if ($request_method ~ ^(POST|PUT|PATCH|DELETE)$) { return 403; }", "anonymous pull,catalog []".into()),
        ("if ( $request_method !~ \"GET|HEAD\" ) { return 403; }", "anonymous pull,catalog []".into()),
        ("if ($http_user_agent ~ curl) { return 403; }", format!("anonymous {ALL} []")),
        ("if ($host = a) { set $x 1; }", format!("anonymous {ALL} []")),
    ] {
        assert_eq!(said(text), Ok(told), "{text}");
    }
    for text in [
        "auth_request /auth;",
        "auth_basic x; auth_basic_user_file $file;",
        "allow example.com;",
        "limit_except GET POST { deny all; }",
        "if ($http_x_token != abc) { return 401; }",
        "if ($request_method = PATCH) { return 403; }",
        "if ($request_method = $x) { return 403; }",
        "access_by_lua_block { ngx.exit(403) }",
        "rewrite_by_lua_file f;",
        "server_rewrite_by_lua_block { ngx.exit(403) }",
        "auth_gss on;",
        "auth_ldap_servers a;",
        "include absent;",
        "if ($arg_x) { return 302 /; }",
        "if ($arg_x) { return 200; }",
        "if ($arg_x) { rewrite ^ /x; }",
        "if ($arg_x) { proxy_pass http://b; }",
        "if ($http_user_agent !~ docker) { return 403; }",
        "if ($ssl_client_s_dn != a) { return 301 https://$host/login; }",
        "if ($request_method ~ PU) { return 403; }",
        "if ($request_method != get) { return 403; }",
        "if ($request_method != ^GET$) { return 403; }",
    ] {
        assert!(said(text).is_err(), "{text}");
    }
}

#[test]
fn conditions_are_known_by_what_they_are_for() {
    let of = |text: &str| Condition::of(parsed(text).unwrap().first().unwrap());
    assert_eq!(of("if ($scheme = http) { return 301 https://$host$request_uri; }"), Condition::Https);
    assert_eq!(of("if ($ssl_client_verify != SUCCESS) { return 403; }"), Condition::Certificate);
    assert_eq!(of("if ($arg_x) { return 302 /; }"), Condition::Unknown);
    assert_eq!(of("if ($arg_x) { set $a 1; add_header X y; break; }"), Condition::Harmless);
    assert_eq!(of("if ($host != a.example) { return 444; }"), Condition::OtherHosts("a.example".into()));
    assert_eq!(of("if ($host = a.example) { return 444; }"), Condition::Unknown);
    assert_eq!(of("if ($request_method = OPTIONS) { return 204; }"), Condition::Methods(vec!["OPTIONS".into()]));
    assert_eq!(of("if ($arg_x) { return 444; }"), Condition::Unknown);
}

#[test]
fn locations_are_about_repositories_where_globs_can_say_so() {
    use super::paths::{About, about};
    let of = |text: &str| about(parsed(&format!("location {text} {{ }}")).unwrap().first().unwrap(), 0).0;
    let repositories = |glob: &str| About::Repositories(glob.into());
    for (text, told) in [
        ("/", About::Everything),
        ("/v2/", About::Api),
        ("~ ^/v2/", About::Api),
        ("= /v2/", About::Part("/v2/")),
        ("/v2/_catalog", About::Part("the catalog")),
        ("/v2/team/", repositories("team/**")),
        ("^~ /v2/team/app", repositories("{team/app*,team/app*/**}")),
        ("~ ^/v2/(a|b)/", repositories("{a,b}/**")),
        ("~ ^\\/v2\\/team\\.x/[^/]+/.*$", repositories("team.x/*/**")),
        ("~ ^/v2/(?:a|b)-[a-z0-9._-]+/", repositories("{a,b}-?*/**")),
        ("~ ^/v2/x-[^/]*/", repositories("x-*/**")),
        ("~ ^/v2/[\\w.-]+/x/", repositories("*/x/**")),
        ("~ ^/v2/x/[^/]+", repositories("{x/*,x/*/**}")),
        ("~ ^/v2/[^/]+[^/]*/", repositories("*/**")),
        ("/v2/*/x/", About::Unclear),
        ("~ ^/v2/[a-z0-9]+/", About::Unclear),
        ("~ ^/v2/[^a]+/", About::Unclear),
        ("~ ^/v2/\\w+/", About::Unclear),
        ("~ ^/v2/[a-z0-9._/-]+/", About::Unclear),
        ("~ /\\.ht", About::Elsewhere),
        ("~* ^/V2/x", About::Unclear),
        ("~ ^/api/", About::Outside("/api/".into())),
        ("~ ^/v1?", About::Unclear),
        ("= /", About::Root),
        ("~ ^/v2/.*/blobs/", About::Kind),
        ("~ ^/v2/(a|b)?/", About::Unclear),
        ("~* /v2/", About::Unclear),
        ("/v2/Team/", About::Unclear),
        ("/v1/", About::Version1),
        ("/service/", About::Outside("/service/".into())),
        ("/health", About::Outside("/health/".into())),
        ("= /health", About::Outside("/health/".into())),
        ("@named", About::Named),
        ("~ \\.php$", About::Unclear),
    ] {
        assert_eq!(of(text), told, "{text}");
    }
}

pub fn imported(text: &str) -> Result<String, String> {
    let files = These([("n", text.to_owned())].into());
    let made = read(&files, Path::new("n"), None, &[]).map_err(|fault| fault.to_string())?;
    Ok(write::text(&made, "n", false))
}

/// A comment may be broken anywhere.
pub fn collapsed(text: &str) -> String {
    text.split_whitespace().filter(|word| *word != "#").collect::<Vec<_>>().join(" ")
}

#[test]
fn what_cannot_be_kept_up_is_left_out_and_not_opened() {
    let server =
        |inside: &str| format!("server {{ listen 80; location /v2/ {{ proxy_pass http://a:5000; {inside} }} }}");
    assert!(imported(&server("")).unwrap().contains("read = \"cluster.a\""));
    for (inside, told) in [
        ("auth_request /ask;", "`auth_request` asks something"),
        ("if ($http_x != y) { return 403; }", "refuses by a condition"),
        ("rewrite ^/v2/(.*) /x/$1 break;", "changes the path"),
    ] {
        let why = imported(&server(inside)).unwrap_err();
        assert!(why.contains(told) && why.contains("n:1"), "{why}");
    }
    for (text, told) in [
        ("", "nothing in it can be served"),
        ("stream { server { listen 5000; proxy_pass a; } }", "balances no other connections"),
        ("server { location / { proxy_pass http://unix:/run/r.sock; } }", "socket of the file system"),
        ("server { location / { proxy_pass http://a/b/; } }", "asks for other paths"),
        ("server { location / { proxy_pass http://$host; } }", "a variable says"),
        ("server { location / { proxy_pass http://ann:1234@a; } }", "there is a user in its address"),
        ("server { listen 443 ssl; location / { proxy_pass http://a; } }", "no certificate"),
        ("server { root /var/www; }", "none of its locations"),
        ("server { location / { proxy_pass http://a; } location /v2/ { return 403; } }", "none of its locations"),
        ("server { return 403; location / { proxy_pass http://a; } }", "none of its locations"),
        ("server { location / { proxy_pass http://a; } location /v2/x/ { return 403; } }", "refuses something to all"),
        (
            "server { location / { proxy_pass http://a; } location /v2/x/ { internal; proxy_pass http://b; } }",
            "refuses something to all",
        ),
        (
            "server { listen 443 ssl; ssl_certificate c; ssl_certificate_key k; ssl_verify_client optional; ssl_client_certificate a; \
             location / { proxy_pass http://a; if ($ssl_client_verify != SUCCESS) { return 403; } } }",
            "at some locations",
        ),
        (
            "server { listen 80; listen 443 ssl; ssl_certificate c; ssl_certificate_key k; ssl_verify_client optional; \
             ssl_client_certificate a; if ($ssl_client_verify != SUCCESS) { return 403; } location / { proxy_pass http://a; } }",
            "an address without TLS has none",
        ),
        (
            "server { set_real_ip_from 10.0.0.0/8; real_ip_header CF-Connecting-IP; \
             location / { proxy_pass http://a; allow 10.0.0.0/8; deny all; } }",
            "by the address in CF-Connecting-IP",
        ),
        // A part of requests that fewer may have than the rest.
        (
            "server { location /v2/ { proxy_pass http://a; } location ~ /manifests/ { proxy_pass http://a; deny all; } }",
            "rules are about repositories",
        ),
    ] {
        let why = imported(text).unwrap_err();
        assert!(why.contains(told), "{text}: {why}");
    }
}

#[test]
fn two_servers_that_only_their_ports_tell_apart_are_not_mixed_up() {
    let two = |names: [&str; 2]| {
        format!(
            "server {{ listen 5000; {} location / {{ proxy_pass http://a:1; }} }}\nserver {{ listen 5001; {} location / {{ proxy_pass http://b:1; }} }}",
            names[0], names[1]
        )
    };
    let text = imported(&two(["", ""])).unwrap();
    assert!(collapsed(&text).contains("not by the port") && !text.contains("cluster.b"), "{text}");
    let named = two(["server_name x.example;", "server_name y.example;"]);
    let text = imported(&named).unwrap();
    assert!(text.contains("cluster.a\"") && text.contains("hosts = [\"y.example\"]"), "{text}");
    assert!(collapsed(&text).contains("is reached at the ports of the server at n:1 too"), "{text}");
    // What only this machine reaches, or who logs in, is not to be had at the other's address by a name.
    for stricter in [
        named.replace("listen 5000", "listen 127.0.0.1:5000"),
        named.replace("http://b:1;", "http://b:1; allow 10.0.0.0/8; deny all;"),
    ] {
        let text = collapsed(&imported(&stricter).unwrap());
        assert!(text.contains("it listens elsewhere") && !text.contains("y.example\"]"), "{text}");
    }
}

#[test]
fn the_same_at_another_address_is_the_same_only_with_the_same_rights() {
    let server = |listen: &str, more: &str| {
        format!("server {{ listen {listen}; server_name a.example; location / {{ proxy_pass http://a:1; {more} }} }}\n")
    };
    let both = imported(&format!("{}{}", server("5000", ""), server("5001", ""))).unwrap();
    assert!(both.contains("0.0.0.0:5000") && both.contains("0.0.0.0:5001") && !both.contains("is left out"), "{both}");
    let strict = collapsed(&imported(&format!("{}{}", server("5000", ""), server("5001", "deny all;"))).unwrap());
    assert!(strict.contains("is left out") && !strict.contains("0.0.0.0:5001"), "{strict}");
}

#[test]
fn a_narrower_location_that_lets_fewer_in_is_said_by_a_denial() {
    let login = "auth_basic x; auth_basic_user_file u;";
    let text = format!(
        "server {{ location /v2/ {{ proxy_pass http://a; limit_except GET {{ {login} }} }} location /v2/private/ {{ proxy_pass http://a; {login} }} }}"
    );
    let table: toml::Table = imported(&text).unwrap().parse().unwrap();
    let rules = table["auth"]["rule"].as_array().unwrap();
    let denial = rules.iter().find(|rule| rule.get("deny").is_some()).unwrap();
    assert_eq!(denial["repositories"].as_str(), Some("private/**"));
    assert_eq!(denial["who"].as_array().unwrap()[0].as_str(), Some("anonymous"));
    assert_eq!(denial["deny"].as_array().unwrap()[0].as_str(), Some("pull"));
}

#[test]
fn where_nobody_may_anything_no_login_opens_it() {
    let text = imported("server { location /v2/ { proxy_pass http://a; deny all; } }").unwrap();
    let table: toml::Table = text.parse().unwrap();
    assert_eq!(table["auth"]["rule"].as_array().unwrap().len(), 1, "{text}");
    assert!(text.contains("deny = [\"pull\", \"push\", \"overwrite\", \"delete\", \"catalog\"]"), "{text}");
}

#[test]
fn a_password_is_shown_nowhere() {
    let text =
        "server { location /v2/ { proxy_pass http://a; proxy_set_header Authorization \"Basic YW5uOmh1bnRlcjI=\"; } }";
    let files = These([("n", text.to_owned())].into());
    let made = read(&files, Path::new("n"), Some(Path::new("/x/out.toml")), &[]).unwrap();
    let shown = format!("{}{}", write::text(&made, "n", true), made.notes.lines().join("\n"));
    assert!(!shown.contains("hunter2") && !shown.contains("YW5uOmh1bnRlcjI"), "{shown}");
    assert!(shown.contains("username = \"ann\"") && shown.contains("password_file = \"/x/a.password\""), "{shown}");
    let secrets: Vec<_> = made.secrets().collect();
    assert_eq!((secrets.len(), secrets[0].text.reveal()), (1, "hunter2"));
}

#[test]
fn only_the_servers_that_are_wanted_are_taken() {
    let text = "server { server_name a.example; location / { proxy_pass http://a:1; } } server { server_name b.example; location / { proxy_pass http://b:1; } }";
    let files = These([("n", text.to_owned())].into());
    let made = read(&files, Path::new("n"), None, &["B.example".to_owned()]).unwrap();
    let text = write::text(&made, "n", false);
    assert!(text.contains("cluster.b\"") && !text.contains("cluster.a\""), "{text}");
}
