//! A request on its way through pingora: what it carries, and how it comes back to whoever passed it on.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;

use bytes::Bytes;
use http::Response;

use crate::exchange::RequestContext;
use crate::front::pass::Pass;
use crate::listener::Exchange;

tokio::task_local! {
    /// Pingora makes a request's context from nothing and keeps its session: here both are handed over and given back, in the
    /// one task that serves the request.
    static HANDOVER: RefCell<Handover>;
}

#[derive(Default)]
struct Handover {
    passing: Option<Box<Passing>>,
    exchange: Option<Box<Exchange>>,
}

/// One request and its way to a peer: pingora's context.
pub struct Passing {
    pub request: RequestContext,
    pub pass: Box<Pass>,
    /// What the client is told in place of a peer's answer.
    pub failure: Option<Response<Bytes>>,
    /// Why the answer broke off, when it had begun.
    pub broke: Option<String>,
}

/// Runs `through` pingora with `passing` at hand; what comes back of it and of the exchange.
pub async fn hand_over(
    passing: Box<Passing>,
    through: impl Future<Output = ()>,
) -> (Option<Box<Passing>>, Option<Box<Exchange>>) {
    let handover = Handover { passing: Some(passing), exchange: None };
    HANDOVER
        .scope(RefCell::new(handover), async {
            through.await;
            HANDOVER.with(|cell| {
                let mut cell = cell.borrow_mut();
                (cell.passing.take(), cell.exchange.take())
            })
        })
        .await
}

/// The context of the request that this task passes on.
pub fn take() -> Option<Box<Passing>> {
    HANDOVER.try_with(|cell| cell.borrow_mut().passing.take()).ok().flatten()
}

/// Pingora is done with it.
pub fn put_back(passing: Option<Box<Passing>>) {
    let _ = HANDOVER.try_with(|cell| cell.borrow_mut().passing = passing);
}

/// Pingora is done with the session. Outside a request (one that was given up) the exchange ends here.
pub fn give_back(exchange: Box<Exchange>) {
    let _ = HANDOVER.try_with(|cell| cell.borrow_mut().exchange = Some(exchange));
}

/// The cause of an error of pingora's: the listener refused the framing of a body.
#[derive(Debug)]
pub struct MalformedBody;

impl fmt::Display for MalformedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the framing of the request's body is broken")
    }
}

impl std::error::Error for MalformedBody {}
