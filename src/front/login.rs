//! What a client hears when the peers want to know who asks, and it is not the client who tells them: with
//! `authorization` other than `"pass"`, a challenge handed on could be answered by nobody.

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::cluster::Cluster;
use crate::cluster::config::Authorization;
use crate::exchange::respond::{problem, problem_with_status};
use crate::oci::ErrorCode;

/// The answer in place of a peer's, where the peer's is such a challenge. `None`: the peer's own words are right.
pub fn in_place_of(status: StatusCode, cluster: &Cluster) -> Option<Response<Bytes>> {
    if status != StatusCode::UNAUTHORIZED {
        return None;
    }
    match &cluster.config().authorization {
        Authorization::Pass => None,
        // As it was meant: nobody is to log in at these peers.
        Authorization::Drop => {
            Some(problem(ErrorCode::Denied, "the registry asks for a login, and this proxy hands none on"))
        }
        Authorization::Token => {
            if cluster.tells_of_login() {
                tracing::error!(cluster = cluster.name(), "the peers refuse our tokens: they have to be told our keys");
            }
            let message = "the registry behind this proxy refuses the proxy's own tokens";
            Some(problem_with_status(StatusCode::BAD_GATEWAY, ErrorCode::Unknown, message))
        }
        Authorization::Login(login) => {
            if cluster.tells_of_login() {
                tracing::error!(
                    cluster = cluster.name(),
                    username = login.username,
                    "the peers refuse the login of `authorization`, or ask for a token, which it cannot get"
                );
            }
            let message = "the registry behind this proxy refuses the proxy's own login";
            Some(problem_with_status(StatusCode::BAD_GATEWAY, ErrorCode::Unknown, message))
        }
    }
}

/// A peer's answer, or the one in place of it.
pub fn judged(answer: Response<Bytes>, cluster: &Cluster) -> Response<Bytes> {
    in_place_of(answer.status(), cluster).unwrap_or(answer)
}
