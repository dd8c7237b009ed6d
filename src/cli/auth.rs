//! `entrepot auth …`: why somebody may or may not.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use globset::GlobBuilder;

use super::check_token::{self, CheckToken};
use crate::app;
use crate::auth::{Asked, Asker, Config as Auth, Decision, Identity, Permission, Policy, Why};
use crate::auth::{robots, workload};
use crate::config::{Config, Source};
use crate::oci::RepositoryName;

#[derive(Subcommand)]
pub enum Command {
    /// Say whether somebody may do something in a repository, and which rules say so. Exit code 0: yes, 1: no.
    Explain {
        /// alice, user:alice, robot:NAME, a workload's name as the configuration makes it (gh:1234), or anonymous
        who: String,
        /// pull, push, overwrite, delete, catalog or admin
        action: String,
        /// Such as team/app
        repository: String,
        /// From which address they would come
        #[arg(long, value_name = "ADDRESS")]
        from: Option<IpAddr>,
        /// By which host they would ask
        #[arg(long)]
        host: Option<String>,
        /// The configuration file [default: as `serve` finds it]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Say whose a token or a robot's secret is, which is read from stdin, and whether it is good now. Exit code 0: good, 1: not.
    CheckToken(CheckToken),
}

pub fn run(command: Command) -> ExitCode {
    let told = match command {
        Command::Explain { who, action, repository, from, host, config } => {
            explain(&who, &action, &repository, (from, host), config)
        }
        Command::CheckToken(command) => check_token::run(&command),
    };
    match told {
        Ok((text, good)) => {
            super::print(&text);
            if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(what) => super::fail(what),
    }
}

fn explain(
    who: &str,
    action: &str,
    repository: &str,
    (from, host): (Option<IpAddr>, Option<String>),
    file: Option<PathBuf>,
) -> Result<(String, bool), String> {
    let permission: Permission = action.parse().map_err(|error| format!("{error}"))?;
    let name: RepositoryName =
        repository.parse().map_err(|error| format!("'{repository}' is no repository: {error}"))?;
    let config = Source::find(file).load().map_err(|errors| errors.to_string())?;
    let Some(auth) = &config.auth else {
        return Ok(("there is no section [auth]: everybody may do everything\n".into(), true));
    };
    let policy = Policy::new(auth).map_err(|(index, error)| format!("auth.rule.{index}: {error}"))?;
    let address = from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let host = host.unwrap_or_default().to_ascii_lowercase();
    let mut text = String::new();
    // A robot's secrets may have been made for different things: one that may is enough.
    let mut found = false;
    for identity in identities(who, &config)? {
        let asker = Asker { identity: &identity, host: &host, address };
        let decision = policy.decide(&asker, permission, Asked::In(&name));
        found |= decision.allowed;
        tell(&mut text, (&policy, auth), &asker, (permission, &name), decision);
    }
    text.push_str(&unasked(&config, permission, &name));
    Ok((text, found))
}

/// Which routes serve the repository and do not ask the rules, or take no writes.
fn unasked(config: &Config, permission: Permission, name: &RepositoryName) -> String {
    let serves = |pattern: &str| {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        glob.is_ok_and(|glob| glob.compile_matcher().is_match(name.as_str()))
    };
    let mut text = String::new();
    let writes = matches!(permission, Permission::Push | Permission::Overwrite | Permission::Delete);
    for (index, route) in config.route.iter().enumerate().filter(|(_, route)| serves(&route.repositories)) {
        let hosts = route.hosts.as_ref().map_or_else(String::new, |hosts| format!(" for {}", hosts.join(", ")));
        if writes && route.write.is_none() {
            let _ = writeln!(text, "  but route.{index}{hosts} takes no writes");
        } else if !config.is_ruled(route) {
            let _ = writeln!(
                text,
                "  but route.{index}{hosts} does not ask the rules: {} answers whom it will",
                route.read
            );
        }
        if route.hosts.is_none() {
            break;
        }
    }
    text
}

fn identities(who: &str, config: &Config) -> Result<Vec<Identity>, String> {
    if let Some(name) = who.strip_prefix("robot:") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
        let listed = runtime.block_on(async {
            let shelf = app::shelf::of(config).await?;
            robots::list(&shelf).await.map_err(|error| format!("robots cannot be read: {error}"))
        });
        runtime.shutdown_background();
        let of_name = listed?.0.into_iter().filter(|listed| listed.robot.name == name);
        let found: Vec<_> = of_name
            .filter_map(|listed| Some(Identity::robot(&listed.robot.name, &listed.id, listed.robot.reach().ok()?)))
            .collect();
        return if found.is_empty() { Err(format!("there is no robot '{name}'")) } else { Ok(found) };
    }
    if who == "anonymous" {
        return Ok(vec![Identity::Anonymous]);
    }
    let workload = who.strip_prefix("workload:");
    let name = workload.or_else(|| who.strip_prefix("user:")).unwrap_or(who);
    // Entries that give one name may put its bearers in different groups: one that may is enough.
    let entries = config.auth.as_ref().map(|auth| workload::named(&auth.workload, name)).unwrap_or_default();
    Ok(match (entries.is_empty(), workload.is_some() || name.contains(':')) {
        (false, _) => entries,
        (true, true) => vec![Identity::workload(name, None, &[])],
        (true, false) => vec![Identity::user(name)],
    })
}

/// Writing to a String cannot fail.
fn tell(
    text: &mut String,
    (policy, auth): (&Policy, &Auth),
    asker: &Asker<'_>,
    (permission, name): (Permission, &RepositoryName),
    decision: Decision,
) {
    let verb = if decision.allowed { "may" } else { "may not" };
    let _ = writeln!(text, "{} {verb} {permission} {name}", asker.identity);
    let why = match decision.why {
        Why::Rule(index) => format!("auth.rule.{index} decides"),
        Why::Robot => "it was made for that".into(),
        Why::Nothing => "no rule allows it".into(),
    };
    let _ = writeln!(text, "  because {why}");
    if auth.rule.is_empty() {
        let _ = writeln!(text, "  there are no rules: who has logged in may do everything but admin");
    }
    for (index, rule) in policy.rules().iter().enumerate() {
        let about = policy.speaks_of(rule, asker);
        let matches = rule.matches(name);
        let says = match (rule.allow.is_empty(), rule.deny.is_empty()) {
            (false, false) => format!("allows {}; denies {}", rule.allow, rule.deny),
            (false, true) => format!("allows {}", rule.allow),
            _ => format!("denies {}", rule.deny),
        };
        let fits = match (about, matches) {
            (true, true) => "matches",
            (false, true) => "is not about who asks, or how they come",
            (true, false) => "is about other repositories",
            (false, false) => "is about others and other repositories",
        };
        let _ = writeln!(text, "  auth.rule.{index}: {} {says}: {fits}", rule.repositories);
    }
}
