//! Remotes that nobody reads from, routes that lead to none of their names, and fleets whose instances fetch each for themselves.

use super::patterns::apart;
use crate::config::model::Config;
use crate::fleet::secret;
use crate::remote::RemoteNames;
use crate::remote::config::Credentials;

/// One sentence each.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, remote) in &config.remote {
        let names = RemoteNames::new(&remote.registry, remote.path.as_deref());
        let below = format!("{}/**", names.path);
        let routes = config.route.iter().enumerate().filter(|(_, route)| route.remote() == Some(name));
        let routes: Vec<_> = routes.collect();
        if routes.is_empty() {
            warnings.push(format!("remote.{name} is read by no [[route]]: none says `read = \"remote.{name}\"`"));
        }
        for (index, route) in routes.into_iter().filter(|(_, route)| apart(&route.repositories, &below)) {
            warnings.push(format!(
                "route.{index} can never match: '{}' is no name of remote.{name}, whose repositories are called '{below}' here, \
                 however they are asked for",
                route.repositories
            ));
        }
        for login in &remote.credentials {
            if let Credentials::Password(login) = login
                && let Some(file) = login.password_file.as_deref().filter(|file| secret::may_be_read_by_others(file))
            {
                warnings.push(format!(
                    "{} may be read or written by others than its owner, and holds a password of remote.{name}: `chmod 600` it",
                    file.display()
                ));
            }
        }
    }
    if !config.remote.is_empty() && config.redis.is_some() && config.fleet.advertise.is_none() {
        warnings.push(
            "[redis] is there and no `advertise` in [fleet]: the instances cannot take from each other what one of them is \
             fetching, so that each fetches it from its remote"
                .into(),
        );
    }
    warnings
}
