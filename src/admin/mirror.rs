//! What is asked of mirrors: their state, one image explained, images brought whole.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;

use super::answer::{Answer, error, json_answer, refusal};
use super::{AdminState, Long, Operator, steps};

pub(super) const STATUS: &str = "/mirror/status";
pub(super) const EXPLAIN: &str = "/explain";
pub(super) const WARM: &str = "/mirror/warm";

/// Largest order to warm, in bytes.
pub(super) const MAX_ORDER: usize = 512 << 10;
/// Images of one remote that a status tells of, and unless the request says how many.
const MAX_IMAGES: usize = 10_000;
const IMAGES: usize = 200;
/// Looking at what is kept asks storage for each blob of each image.
const TELL_TIMEOUT: Duration = Duration::from_secs(300);
/// A list of large images from far away.
const WARM_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// What shall be brought: the body of `POST /mirror/warm`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmOrder {
    /// As people write them: `docker.io/library/alpine:3`, `alpine:3`.
    pub images: Vec<String>,
    /// `os/arch[/variant]` each, or `all` alone. Empty: this machine's.
    #[serde(default)]
    pub platforms: Vec<String>,
}

/// `GET /mirror/status?remote=NAME&limit=IMAGES` and `GET /explain?ref=IMAGE`.
pub(super) async fn tell(path: &str, query: Option<&str>, state: &dyn AdminState, long: &Long) -> Answer {
    let Some(_place) = long.begin(TELL_TIMEOUT) else { return busy() };
    let value = |wanted: &str| {
        let mut pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        pairs.find_map(|(key, value)| (key == wanted).then(|| value.into_owned()))
    };
    let told = if path == EXPLAIN {
        let Some(image) = value("ref") else {
            return bad("?ref=IMAGE is needed, such as ?ref=docker.io/library/alpine:3");
        };
        state.explain(&image).await
    } else {
        let limit = match value("limit").map_or(Ok(IMAGES), |limit| limit.parse()) {
            Ok(limit) => limit.min(MAX_IMAGES),
            Err(_) => return bad("?limit= is a number of images"),
        };
        state.mirror_status(value("remote").as_deref(), limit).await
    };
    match told {
        Ok(value) => json_answer(StatusCode::OK, &value),
        Err(why) => refusal(&why),
    }
}

/// `POST /mirror/warm`: a line of JSON for each step, as it is done. A client that leaves, or takes nothing for a minute, stops it.
pub(super) fn warm(body: &[u8], operator: &Operator, state: &Arc<dyn AdminState>, long: &Long) -> Answer {
    let order: WarmOrder = match serde_json::from_slice(body) {
        Ok(order) => order,
        Err(why) => {
            return bad(&format!("the body is {{\"images\": [\"IMAGE\"], \"platforms\": [\"OS/ARCH\"]}}: {why}"));
        }
    };
    let Some(place) = long.begin(WARM_TIMEOUT) else { return busy() };
    match state.warm(order, operator) {
        Ok(told) => steps::answer(told, place, "who ordered images to be warmed has left: no more is fetched for them"),
        Err(why) => refusal(&why),
    }
}

pub(super) fn busy() -> Answer {
    error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "too many such questions are under way: try again")
}

fn bad(message: &str) -> Answer {
    error(StatusCode::BAD_REQUEST, "UNSUPPORTED", message)
}
