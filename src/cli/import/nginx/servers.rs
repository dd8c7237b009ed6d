//! A `server`: where it listens, for which names, and what each of its locations does.

use super::access::Condition;
use super::notes::{Notes, Weight};
use super::paths::{About, Order, about};
use super::scope::Scope;
use super::tree::{Directive, Place};
use super::upstream::Target;
use super::values::{self, Listen};

/// Locations in locations.
const MAX_DEPTH: usize = 8;
/// Where a server listens that does not say it.
const USUAL: &str = "80";

pub struct Server<'a> {
    pub at: &'a Place,
    pub directive: &'a Directive,
    pub listens: Vec<Listen>,
    /// As routes have them.
    pub hosts: Vec<String>,
    pub scope: Scope<'a>,
    pub does: Does<'a>,
}

pub enum Does<'a> {
    /// Sends its clients to the same host under https.
    ToHttps,
    Serves(Vec<Entry<'a>>),
}

/// A location.
pub struct Entry<'a> {
    pub at: &'a Place,
    pub shown: String,
    pub about: About,
    pub order: Order,
    pub scope: Scope<'a>,
    pub answer: Answer,
    /// It stands in another location, which has to be found first.
    pub nested: bool,
}

#[derive(Debug)]
pub enum Answer {
    Proxy(Result<Target, String>),
    ToHttps,
    Returns(u16),
    /// Something that Entrepot does not do.
    Other(&'static str),
}

impl<'a> Server<'a> {
    pub fn read(directive: &'a Directive, http: &Scope<'a>, notes: &mut Notes) -> Server<'a> {
        let scope = http.inner(directive.inner());
        let hosts = hosts(&scope, notes);
        let listens = listens(directive, &scope, notes);
        let redirects = |level: &[Directive]| level.iter().any(|inner| to_https(inner, &hosts));
        let does = if redirects(directive.inner()) {
            Does::ToHttps
        } else if scope.own("return").is_some() {
            // Whatever its locations say, it answers so.
            Does::Serves(Vec::new())
        } else {
            let mut entries = Vec::new();
            locations(directive, &scope, &hosts, (0, false), &mut entries);
            entries.sort_by_key(|entry| entry.order);
            let whole = entries.iter().find(|entry| entry.about == About::Everything);
            let proxies = entries.iter().any(|entry| matches!(entry.answer, Answer::Proxy(_)));
            match whole.is_some_and(|entry| matches!(entry.answer, Answer::ToHttps)) && !proxies {
                true => Does::ToHttps,
                false => Does::Serves(entries),
            }
        };
        Server { at: &directive.at, directive, listens, hosts, scope, does }
    }

    /// Whether its plain addresses send their clients to https, beside those over which it serves.
    pub fn sends_plain_away(&self) -> bool {
        self.scope.every("if").any(|condition| Condition::of(condition) == Condition::Https)
            || self.scope.own("error_page").is_some_and(|page| page.says("497"))
    }
}

fn hosts(scope: &Scope<'_>, notes: &mut Notes) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    let mut add = |host: String| {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    };
    for directive in scope.all(&["server_name"]) {
        for name in &directive.args {
            let name = name.to_ascii_lowercase();
            let bare = name.strip_prefix("*.").or_else(|| name.strip_prefix('.')).unwrap_or(&name);
            let part = |part: &str| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                (1..=63).contains(&part.len())
                    && part.bytes().all(plain)
                    && !part.starts_with('-')
                    && !part.ends_with('-')
            };
            let good = bare.len() <= 253 && bare.split('.').all(part);
            let wide = name != bare;
            match good && (!wide || bare.contains('.')) {
                _ if name.is_empty() || name == "_" || name == "$hostname" => {}
                true if wide => {
                    if name.starts_with('.') {
                        add(bare.to_owned());
                    }
                    add(format!("*.{bare}"));
                    let why = format!("*.{bare} stands for one part of a name here, where nginx has any number");
                    notes.other("server_name", why, &directive.at);
                }
                true => add(name),
                false => {
                    notes.lost("server_name", format!("{name} is no name, and no \"*.\" and a name"), &directive.at)
                }
            }
        }
    }
    hosts
}

fn listens(server: &Directive, scope: &Scope<'_>, notes: &mut Notes) -> Vec<Listen> {
    let own: Vec<&Directive> = server.inner().iter().filter(|inner| inner.name == "listen").collect();
    let usual = Directive { name: "listen".into(), args: vec![USUAL.into()], block: None, at: server.at.clone() };
    let all_ssl = scope.value("ssl") == Some("on");
    let mut found: Vec<Listen> = Vec::new();
    let said = if own.is_empty() { vec![&usual] } else { own };
    for directive in said {
        match values::listen(directive) {
            Ok(listens) => {
                for mut listen in listens {
                    listen.ssl |= all_ssl;
                    if listen.h2 && !listen.ssl {
                        let why = "HTTP/2 is spoken over TLS, and HTTP/1.1 without";
                        notes.other("listen … http2", why, &directive.at);
                    }
                    if !found.iter().any(|known| known.address == listen.address) {
                        found.push(listen);
                    }
                }
            }
            Err(why) => notes.leave(format!("listen {}", directive.arg(0)), why, &directive.at),
        }
    }
    found
}

fn locations<'a>(
    within: &'a Directive,
    scope: &Scope<'a>,
    hosts: &[String],
    (depth, in_pattern): (usize, bool),
    entries: &mut Vec<Entry<'a>>,
) {
    for location in within.inner().iter().filter(|inner| inner.name == "location") {
        let inner = scope.inner(location.inner());
        let (mut about, order, path) = about(location, entries.len());
        let in_pattern = in_pattern || matches!(order, Order::Pattern(_));
        let nested = depth > 0;
        // Only what the location around it is about comes to it: which of that, nothing here can say.
        if nested && in_pattern && matches!(about, About::Everything | About::Api | About::Repositories(_)) {
            about = About::Unclear;
        }
        let answer = answer(location, &inner, path.as_deref(), hosts);
        let shown = format!("location {}", location.args.join(" "));
        entries.push(Entry { at: &location.at, shown, about, order, scope: inner.clone(), answer, nested });
        if depth < MAX_DEPTH {
            locations(location, &inner, hosts, (depth + 1, in_pattern), entries);
        }
    }
}

fn answer(location: &Directive, scope: &Scope<'_>, path: Option<&str>, hosts: &[String]) -> Answer {
    for directive in location.inner() {
        match directive.name.as_str() {
            "return" | "rewrite" if to_https(directive, hosts) => return Answer::ToHttps,
            "return" => {
                let status = directive.arg(0).parse().unwrap_or(302);
                return Answer::Returns(status);
            }
            "deny"
                if directive.arg(0) == "all"
                    && !location.inner().iter().any(|inner| inner.name == "allow" || inner.name == "proxy_pass") =>
            {
                return Answer::Returns(403);
            }
            "internal" => return Answer::Returns(404),
            "rewrite" if scope.own("proxy_pass").is_some() => {
                return Answer::Proxy(Err(
                    "a `rewrite` changes the path that is asked for, and Entrepot changes none".into()
                ));
            }
            "try_files" if scope.own("proxy_pass").is_some() => {
                return Answer::Proxy(Err("`try_files` looks for files first, and Entrepot serves none".into()));
            }
            "stub_status" => return Answer::Other("metrics are at /metrics of the [admin] address"),
            _ => {}
        }
    }
    let lua = ["content_by_lua", "content_by_lua_block", "content_by_lua_file", "js_content"];
    let program = lua.iter().any(|name| scope.own(name).is_some());
    match scope.own("proxy_pass") {
        Some(_) if program => Answer::Proxy(Err("a program answers there too".into())),
        Some(proxy_pass) => Answer::Proxy(Target::of(proxy_pass, scope, path)),
        None if program => Answer::Other("is a program"),
        None if ["fastcgi_pass", "uwsgi_pass", "grpc_pass", "scgi_pass"]
            .iter()
            .any(|pass| scope.own(pass).is_some()) =>
        {
            Answer::Other("peers speak HTTP")
        }
        None => Answer::Other("Entrepot serves no files"),
    }
}

/// Whether a `return` or `rewrite` leads to the same host under https, port 443.
fn to_https(directive: &Directive, hosts: &[String]) -> bool {
    let url = match directive.name.as_str() {
        "return" if directive.args.len() == 1 => directive.arg(0),
        "return" if directive.arg(0).starts_with('3') => directive.arg(1),
        "rewrite" => directive.arg(1),
        _ => return false,
    };
    let Some(rest) = url.strip_prefix("https://") else { return false };
    let end = rest.char_indices().find(|(at, c)| *c == '/' || (*c == '$' && *at > 0)).map_or(rest.len(), |(at, _)| at);
    let host = rest.get(..end).unwrap_or(rest).trim_end_matches(":443").replace(['{', '}'], "");
    ["$host", "$http_host", "$server_name"].contains(&host.as_str()) || hosts.contains(&host.to_ascii_lowercase())
}

impl Entry<'_> {
    /// Says why nothing is made of it.
    pub fn lost(&self, weight: Weight, why: impl Into<String>, notes: &mut Notes) {
        match weight {
            Weight::Lost => notes.leave(&*self.shown, why, self.at),
            _ => notes.say(weight, &*self.shown, why, self.at),
        }
    }
}
