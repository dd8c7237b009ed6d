//! What a client hears when no peer's answer can be given.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::ask::Unanswered;
use crate::exchange::fields::relayed;
use crate::exchange::respond::{problem, problem_with_status};
use crate::oci::ErrorCode;

/// Why no peer's answer can be given.
pub fn unanswered(why: Unanswered) -> Response<Bytes> {
    match why {
        Unanswered::NoPeer | Unanswered::Lost | Unanswered::Spent => {
            problem(ErrorCode::Unavailable, "no registry behind this proxy answers")
        }
        Unanswered::Busy => problem(ErrorCode::Unavailable, "every registry behind this proxy is at its limit"),
        Unanswered::Useless(why) => problem_with_status(
            StatusCode::BAD_GATEWAY,
            ErrorCode::Unknown,
            &format!("the registry behind this proxy gave no usable answer: {why}"),
        ),
        Unanswered::Failing => problem(ErrorCode::Unavailable, "the registries behind this proxy fail"),
        Unanswered::Failed(answer) if answer.response.body().is_empty() => {
            problem_with_status(answer.response.status(), ErrorCode::Unknown, "the registry behind this proxy failed")
        }
        Unanswered::Failed(answer) => relayed(&answer.response),
    }
}
