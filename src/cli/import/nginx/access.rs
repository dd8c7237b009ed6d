//! Who may: `allow`, `deny`, `auth_basic`, `satisfy`, `limit_except`, client certificates and the conditions of `if`. What cannot be said
//! here lets nobody in: a location that asks for it is left out, and not opened.

use ipnet::IpNet;

use super::notes::plain;
use super::scope::Scope;
use super::tree::Directive;
use super::values::{everywhere, network, without};

/// Networks of one list; more pieces are not written.
const MAX_NETWORKS: usize = 2000;

/// Who may do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Users of this file, where a login is asked for.
    pub users: Option<String>,
    pub networks: Networks,
    /// A login or a network is enough.
    pub either: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Networks {
    All,
    /// `deny all` alone.
    Nobody,
    Only(Vec<IpNet>),
    Not(Vec<IpNet>),
}

/// Who may pull, push, delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub pull: Gate,
    pub push: Gate,
    pub delete: Gate,
}

/// Why something cannot be said by rules.
pub type Unsaid = String;

/// Of those whose names begin with `auth_`, the ones that ask nobody outside nginx.
const ASKED_HERE: [&str; 4] = ["auth_basic", "auth_basic_user_file", "auth_delay", "auth_request_set"];
/// Parts of the names of programs that may refuse, or lead elsewhere.
const PROGRAMS: [&str; 3] = ["access_by_lua", "rewrite_by_lua", "js_access"];
/// What keeps nobody out, within an `if`.
const HARMLESS: [&str; 3] = ["set", "add_header", "break"];
/// Of `$request_method`, what else may be named than what registries know.
const OTHER_METHODS: [&str; 9] =
    ["TRACE", "CONNECT", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK"];

const READS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];
const PUSHES: [&str; 3] = ["POST", "PUT", "PATCH"];
const DELETES: [&str; 1] = ["DELETE"];

impl Gate {
    const OPEN: Gate = Gate { users: None, networks: Networks::All, either: false };
    pub const CLOSED: Gate = Gate { users: None, networks: Networks::Nobody, either: false };

    pub fn is_open(&self) -> bool {
        *self == Gate::OPEN
    }

    pub fn is_closed(&self) -> bool {
        match self.either && self.users.is_some() {
            true => false,
            false => self.networks == Networks::Nobody,
        }
    }

    fn of(scope: &Scope<'_>) -> Result<Gate, Unsaid> {
        for directive in scope.outer_first() {
            let name = directive.name.as_str();
            let asks = name.starts_with("auth_") && !ASKED_HERE.contains(&name)
                || PROGRAMS.iter().any(|part| name.contains(part));
            if asks && scope.one(name).is_some_and(|innermost| innermost.arg(0) != "off") {
                return Err(format!("`{name}` asks something that Entrepot cannot ask"));
            }
            // The parser leaves those here that it has no file for.
            if name == "include" {
                let file = plain(directive.arg(0));
                return Err(format!("{file}, which is included at {}, is not here and may say who may", directive.at));
            }
        }
        let users = match scope.value("auth_basic") {
            None | Some("off") => None,
            // Without a file, nginx asks for nothing.
            Some(_) => scope.value("auth_basic_user_file"),
        };
        if users.is_some_and(|file| file.contains('$')) {
            return Err("`auth_basic_user_file` names a file by a variable".into());
        }
        let any = scope.value("satisfy") == Some("any") && users.is_some();
        // Where a login is enough too, an address that no line has lets nobody in.
        let networks = networks(&scope.all(&["allow", "deny"]), any)?;
        let either = any && networks != Networks::All;
        Ok(Gate { users: users.map(str::to_owned), networks, either })
    }
}

impl Access {
    pub fn of(scope: &Scope<'_>) -> Result<Access, Unsaid> {
        let outer = Gate::of(scope)?;
        let mut access = Access { pull: outer.clone(), push: outer.clone(), delete: outer };
        if let Some(limit) = scope.own("limit_except") {
            let inner = Gate::of(&scope.inner(limit.inner()))?;
            access.limit(limit, &inner)?;
        }
        for condition in scope.every("if") {
            access.condition(condition)?;
        }
        Ok(access)
    }

    pub fn is_open(&self) -> bool {
        self.pull.is_open() && self.push.is_open() && self.delete.is_open()
    }

    /// Everybody may read, nobody may write: a route without `write` says so.
    pub fn only_reads(&self) -> bool {
        self.pull.is_open() && self.push.is_closed() && self.delete.is_closed()
    }

    /// Whether it matters where somebody comes from.
    pub fn is_by_network(&self) -> bool {
        let by = |gate: &Gate| matches!(gate.networks, Networks::Only(_) | Networks::Not(_));
        by(&self.pull) || by(&self.push) || by(&self.delete)
    }

    pub fn users(&self) -> impl Iterator<Item = &str> {
        [&self.pull, &self.push, &self.delete].into_iter().filter_map(|gate| gate.users.as_deref())
    }

    /// `limit_except METHODS { … }`: what is in it counts for all other methods.
    fn limit(&mut self, limit: &Directive, inner: &Gate) -> Result<(), Unsaid> {
        // GET stands for HEAD too.
        let kept = |method: &str| limit.says(method) || (method == "HEAD" && limit.says("GET")) || method == "OPTIONS";
        for (gate, methods) in [
            (&mut self.pull, READS.as_slice()),
            (&mut self.push, PUSHES.as_slice()),
            (&mut self.delete, DELETES.as_slice()),
        ] {
            match (
                methods.iter().all(|method| kept(method)),
                methods.iter().any(|method| kept(method) && *method != "OPTIONS"),
            ) {
                (true, _) => {}
                (false, false) => *gate = inner.clone(),
                (false, true) => return Err("`limit_except` parts the methods that a pull or a push needs".into()),
            }
        }
        Ok(())
    }

    /// `if (…) { return 403; }`
    fn condition(&mut self, condition: &Directive) -> Result<(), Unsaid> {
        match Condition::of(condition) {
            Condition::Methods(refused) => {
                let all = |methods: &[&str]| methods.iter().all(|method| refused.iter().any(|one| one == method));
                let any = |methods: &[&str]| methods.iter().any(|method| refused.iter().any(|one| one == method));
                if all(&["GET"]) || (any(&PUSHES) && !all(&PUSHES)) {
                    return Err("an `if` refuses some of the methods that a pull or a push needs".into());
                }
                if all(&PUSHES) {
                    self.push = Gate::CLOSED;
                }
                if all(&DELETES) {
                    self.delete = Gate::CLOSED;
                }
                Ok(())
            }
            Condition::Unknown => {
                Err(format!("an `if` at {} refuses by a condition that cannot be said here", condition.at))
            }
            // Who serves the whole looks at hosts and certificates.
            Condition::Harmless
            | Condition::Agents
            | Condition::Certificate
            | Condition::Https
            | Condition::OtherHosts(_) => Ok(()),
        }
    }
}

/// What an `if` is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Old or unwanted programs, by what they call themselves.
    Agents,
    /// These methods are refused.
    Methods(Vec<String>),
    /// A client without a good certificate is refused.
    Certificate,
    /// Plain HTTP is sent to https.
    Https,
    /// Whoever asks for another host than this one is refused.
    OtherHosts(String),
    /// It keeps nobody out.
    Harmless,
    /// It may keep somebody out, in a way that cannot be said here.
    Unknown,
}

impl Condition {
    pub fn of(directive: &Directive) -> Condition {
        let inner = directive.inner();
        if inner.iter().all(|inner| HARMLESS.contains(&inner.name.as_str())) {
            return Condition::Harmless;
        }
        let text = directive.args.join(" ");
        let text = text.trim();
        let text = text.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(text).trim();
        let mut words = text.split_whitespace();
        let (about, sign, value) =
            (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.collect::<Vec<_>>().join(" "));
        let Some(answer) = inner.iter().find(|inner| inner.name == "return" || inner.name == "rewrite") else {
            return Condition::Unknown;
        };
        let refuses = answer.name == "return" && answer.arg(0).starts_with('4');
        match about {
            "$scheme" | "$https" | "$http_x_forwarded_proto" | "$ssl_protocol" | "$server_port"
                if answer.args.iter().any(|arg| arg.starts_with("https://")) =>
            {
                Condition::Https
            }
            // A name that anybody can give; who is let in by it alone is another matter.
            "$http_user_agent" if refuses && ["=", "~", "~*"].contains(&sign) => Condition::Agents,
            "$ssl_client_verify" if sign == "!=" && value.trim() == "SUCCESS" => Condition::Certificate,
            "$host" | "$http_host" if refuses && sign == "!=" && !value.contains('$') => {
                Condition::OtherHosts(value.trim().to_ascii_lowercase())
            }
            "$request_method" if answer.name == "return" => {
                methods(sign, &value).map_or(Condition::Unknown, Condition::Methods)
            }
            _ => Condition::Unknown,
        }
    }
}

/// Which methods a condition on `$request_method` refuses, of those that registries know. They have to be named whole.
fn methods(sign: &str, value: &str) -> Option<Vec<String>> {
    let value = value.trim();
    let is_pattern = sign.contains('~');
    let bare = if is_pattern { value.trim_start_matches('^').trim_end_matches('$') } else { value };
    let group = bare.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).filter(|_| is_pattern);
    let bare = group.map_or(bare, |inner| inner.trim_start_matches("?:"));
    let named: Vec<&str> = if is_pattern { bare.split('|').collect() } else { vec![bare] };
    let all = || READS.iter().chain(&PUSHES).chain(&DELETES).copied();
    let any_case = sign.ends_with('*');
    let same = |name: &str, method: &str| if any_case { name.eq_ignore_ascii_case(method) } else { name == method };
    if !named.iter().copied().all(|name| all().chain(OTHER_METHODS).any(|method| same(name, method))) {
        return None;
    }
    let is_named = |method: &str| named.iter().copied().any(|name| same(name, method));
    let chosen: Vec<&str> = match sign {
        "=" | "~" | "~*" => all().filter(|method| is_named(method)).collect(),
        "!=" | "!~" | "!~*" => all().filter(|method| !is_named(method)).collect(),
        _ => return None,
    };
    Some(chosen.into_iter().map(str::to_owned).collect())
}

/// The first line that has an address decides, and who is in none may, but not where only what a line allows is `enough`.
fn networks(lines: &[&Directive], enough: bool) -> Result<Networks, Unsaid> {
    let (mut allowed, mut denied): (Vec<IpNet>, Vec<IpNet>) = (Vec::new(), Vec::new());
    for line in lines {
        let word = line.arg(0);
        if word == "unix:" {
            continue;
        }
        let nets = match word {
            "all" => everywhere(),
            _ => vec![network(word).ok_or_else(|| format!("`{}` at {} is about no network", line.name, line.at))?],
        };
        let earlier = if line.name == "allow" { &denied } else { &allowed };
        let mut pieces = nets;
        for hole in earlier {
            pieces = pieces.into_iter().flat_map(|net| without(net, *hole)).collect();
            if pieces.len() > MAX_NETWORKS {
                return Err("`allow` and `deny` make more pieces of networks than can be written".into());
            }
        }
        if line.name == "allow" { &mut allowed } else { &mut denied }.append(&mut pieces);
        if word == "all" {
            return Ok(if line.name == "allow" { not(denied) } else { only(allowed) });
        }
    }
    // Without any line there is nothing that an address could be enough for.
    Ok(if enough && !lines.is_empty() { only(allowed) } else { not(denied) })
}

fn only(allowed: Vec<IpNet>) -> Networks {
    if allowed.is_empty() { Networks::Nobody } else { Networks::Only(allowed) }
}

fn not(denied: Vec<IpNet>) -> Networks {
    if denied.is_empty() { Networks::All } else { Networks::Not(denied) }
}

/// A rule of `[auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub who: &'static str,
    pub allow: bool,
    pub words: Vec<&'static str>,
    pub from: Vec<IpNet>,
}

/// The rules that say the same; what has the same gate is said at once.
pub fn rules(access: &Access) -> Vec<Said> {
    let classes = [
        (&access.pull, ["pull", "catalog"].as_slice()),
        (&access.push, ["push", "overwrite"].as_slice()),
        (&access.delete, ["delete"].as_slice()),
    ];
    let mut groups: Vec<(&Gate, Vec<&'static str>)> = Vec::new();
    for (gate, words) in classes {
        match groups.iter_mut().find(|(known, _)| *known == gate) {
            Some((_, known)) => known.extend_from_slice(words),
            None => groups.push((gate, words.to_vec())),
        }
    }
    groups.into_iter().flat_map(|(gate, words)| of_gate(gate, &words)).collect()
}

fn of_gate(gate: &Gate, words: &[&'static str]) -> Vec<Said> {
    let said = |who, allow, from: &[IpNet]| Said { who, allow, words: words.to_vec(), from: from.to_vec() };
    let who = if gate.users.is_some() { "authenticated" } else { "anonymous" };
    match (&gate.networks, gate.either) {
        (Networks::All, _) => vec![said(who, true, &[])],
        (Networks::Nobody, false) => Vec::new(),
        (Networks::Nobody, true) => vec![said("authenticated", true, &[])],
        (Networks::Only(nets), false) => vec![said(who, true, nets)],
        (Networks::Not(nets), false) => vec![said(who, true, &[]), said("*", false, nets)],
        (Networks::Only(nets), true) => vec![said("anonymous", true, nets), said("authenticated", true, &[])],
        (Networks::Not(nets), true) => {
            let mut rest = everywhere();
            for hole in nets {
                rest = rest.into_iter().flat_map(|net| without(net, *hole)).collect();
            }
            vec![said("anonymous", true, &rest), said("authenticated", true, &[])]
        }
    }
}
