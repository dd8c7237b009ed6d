//! What is changed of a proxied request on its way to the peer, and of the peer's answer on its way back.

use std::time::Instant;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRANSFER_ENCODING, VIA};
use http::{HeaderMap, Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::Result;
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use super::{FAILING_PEER, NextTry, ODD_PEER, Pass, UNANSWERABLE};
use crate::cluster::InFlight;
use crate::exchange::RequestContext;
use crate::exchange::fields::{REQUEST_ID, TRACEPARENT, TRACESTATE};
use crate::exchange::respond::CONTENT_DIGEST;
use crate::exchange::{forwarded, realm};
use crate::front::ask::{Question, ask};
use crate::front::blob::head_of_blob;
use crate::front::upload::{Address, UploadPeer, address, authority_of, is_same_authority, relative, with_peer};
use crate::front::{link, login, odd};
use crate::oci::Resource;
use crate::telemetry::spans;

/// Most `1xx` that a peer may send before its answer: one `100`, and a few `102` of a long commit.
const MAX_INTERIM: u32 = 16;

impl Pass {
    /// Sets what the peer shall see.
    pub fn prepare(
        &mut self,
        session: &mut Session,
        told_by: impl Fn(&mut HeaderMap),
        request: &mut RequestHeader,
    ) -> Result<()> {
        self.sent = true;
        (self.interim, self.interim_since) = (0, None);
        let uri = self.target.parse().map_err(|_| Error::explain(ErrorType::InvalidHTTPHeader, "target"))?;
        request.set_uri(uri);
        let mut told = request.headers.clone();
        told_by(&mut told);
        self.waiting = spans::waiting(|| format!("peer {}", request.method).into());
        if let Some(waiting) = &mut self.waiting {
            waiting.set("server.address", self.in_flight.as_ref().map_or("", |peer| peer.peer().authority()));
            told.insert(TRACEPARENT, waiting.header());
        }
        self.told_host = told.get("x-forwarded-host").and_then(|host| host.to_str().ok()).map(str::to_owned);
        for name in forwarded::claims(&request.headers) {
            request.remove_header(&name);
        }
        for name in [REQUEST_ID, TRACEPARENT, TRACESTATE, VIA] {
            request.remove_header(&name);
        }
        for name in forwarded::claims(&told).into_iter().chain([REQUEST_ID, TRACEPARENT, TRACESTATE, VIA]) {
            for value in told.get_all(&name) {
                request.append_header(name.clone(), value)?;
            }
        }
        let authorization = self.cluster.authorization(told.get(AUTHORIZATION)).cloned();
        request.remove_header(&AUTHORIZATION);
        if let Some(authorization) = authorization {
            request.insert_header(AUTHORIZATION, authorization)?;
        }
        if self.next != NextTry::Choose || !session.is_body_empty() {
            // The connection is this request's own (see `connect`), and ends with it.
            request.insert_header(CONNECTION, "close")?;
        }
        Ok(())
    }

    /// Judges a peer's answer: one of `retry.statuses` counts as none while another try is possible.
    pub fn judge(&mut self, session: &mut Session, response: &ResponseHeader) -> Result<()> {
        let status = response.status;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            self.interim += 1;
            // While the client still sends, its peer may say what it likes within the count.
            let since = match session.is_body_done() {
                true => *self.interim_since.get_or_insert_with(Instant::now),
                false => Instant::now(),
            };
            let late = since.elapsed() > self.cluster.config().timeouts.first_byte.0;
            return match self.interim > MAX_INTERIM || late {
                true => self.odd("it sends 1xx without end"),
                false => Ok(()),
            };
        }
        self.answered = true;
        if let Some(mut waiting) = self.waiting.take() {
            waiting.set("http.response.status_code", status.as_u16());
        }
        if let Err(why) = odd::check(status) {
            return self.odd(why);
        }
        if self.cluster.config().retry.statuses.contains(&status.as_u16()) {
            let mut error = Error::explain(FAILING_PEER, format!("a peer answered {status}")).into_up();
            let last = self.in_flight.as_ref().map(|in_flight| in_flight.peer().id());
            self.exchange_failed(session, &mut error);
            if error.retry() {
                return Err(error);
            }
            // Nobody else to ask: the peer's own words reach the client, and the upload stays where it is.
            tracing::warn!(peer = ?last, status = status.as_u16(), "a peer's failure is handed on");
        } else if let Some(in_flight) = &self.in_flight {
            in_flight.succeeded();
            if self.next == NextTry::Fresh {
                self.cluster.resend_answered();
            }
        }
        self.refusal = login::in_place_of(status, &self.cluster);
        match self.refusal {
            Some(_) => Err(Error::explain(UNANSWERABLE, "the peers ask the client for what it cannot give").into_up()),
            None => Ok(()),
        }
    }

    fn odd(&mut self, why: &'static str) -> Result<()> {
        if let Some(in_flight) = &self.in_flight {
            tracing::warn!(peer = in_flight.peer().authority(), why, "a peer's answer is of no use");
            in_flight.failed();
        }
        Err(Error::explain(ODD_PEER, why).into_up())
    }

    /// Whether this answer may hide that an earlier try did the work: then [`settle`](Self::settle) looks.
    pub fn is_doubtful(&self, session: &Session, response: &ResponseHeader) -> bool {
        let method = &session.req_header().method;
        self.sent_before
            && response.status == StatusCode::NOT_FOUND
            && self.home.is_some()
            && (*method == Method::DELETE || *method == Method::PUT)
    }

    /// The upload of a request that was sent twice is not there any more. What the first did is the answer: it was
    /// cancelled, or closed, if the blob is there.
    pub async fn settle(
        &mut self,
        ctx: &RequestContext,
        headers: HeaderMap,
        response: &mut ResponseHeader,
    ) -> Result<()> {
        let Some(action) = &ctx.action else { return Ok(()) };
        if action.method == Method::DELETE {
            self.replace(response, StatusCode::NO_CONTENT)?;
            return Ok(());
        }
        // Below `forward` the repository is not known: there the peer's own words stand.
        let Resource::Upload { name, digest: Some(digest), .. } = &action.resource else { return Ok(()) };
        let target = format!("/v2/{name}/blobs/{digest}");
        let question = Question {
            method: Method::HEAD,
            target: target.clone(),
            headers,
            body: Bytes::new(),
            hash: self.hash().to_vec(),
            check: head_of_blob(digest),
        };
        let answer = ask(&self.cluster, &question).await;
        if answer.is_ok_and(|answer| answer.response.status() == StatusCode::OK) {
            self.replace(response, StatusCode::CREATED)?;
            response.insert_header(CONTENT_LENGTH, 0)?;
            response.insert_header(LOCATION, target)?;
            response.insert_header(CONTENT_DIGEST, digest.to_string())?;
        }
        Ok(())
    }

    fn replace(&mut self, response: &mut ResponseHeader, status: StatusCode) -> Result<()> {
        for name in [CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING] {
            response.remove_header(&name);
        }
        response.set_status(status)?;
        self.drops_body = true;
        Ok(())
    }

    /// Makes a peer's answer right for the client.
    pub fn mend(&self, session: &Session, ctx: &RequestContext, response: &mut ResponseHeader) -> Result<()> {
        response.insert_header(REQUEST_ID, ctx.id.as_str())?;
        let peer = self.in_flight.as_ref().map(|in_flight| in_flight.peer().authority()).unwrap_or_default();
        link::mend(response, &[peer, ctx.authority.as_str()])?;
        realm::mend_head(&session.req_header().headers, ctx, response)?;
        let Some(location) = response.headers.get(LOCATION).and_then(|value| value.to_str().ok()) else {
            return Ok(());
        };
        let Some(in_flight) = &self.in_flight else { return Ok(()) };
        let uploads = matches!(ctx.resource(), Some(Resource::UploadStart { .. } | Resource::Upload { .. }))
            || (matches!(ctx.resource(), Some(Resource::Outside)) && self.home.is_some());
        if !uploads {
            // A redirect may lead to a store that has our name and another port: only what is ours to the letter is.
            let ours = [in_flight.peer().authority(), ctx.authority.as_str()];
            if authority_of(location).is_some_and(|at| ours.iter().any(|own| own.eq_ignore_ascii_case(at))) {
                let location = relative(location).to_owned();
                response.insert_header(LOCATION, location)?;
            }
            return Ok(());
        }
        let (peer, target) = match address(location, &self.target) {
            Address::Here(target) => (in_flight.peer().id(), target),
            Address::At(authority, target) => match self.peer_at(ctx, in_flight, authority) {
                Some(peer) => (peer, target),
                // On another host, such as an object store: its own.
                None => return Ok(()),
            },
        };
        let goes_on = response.status.is_redirection()
            || matches!(response.status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT);
        let location = match goes_on {
            true => {
                self.warn_of_unreachable(in_flight, &target);
                // Only the POST that opened it leaves an upload empty; it is opened again below /v2/.
                let opened = matches!(ctx.resource(), Some(Resource::UploadStart { .. }));
                let empty = opened && session.req_header().method == Method::POST && target.starts_with("/v2/");
                with_peer(&target, UploadPeer { peer, empty })
            }
            false => target,
        };
        response.insert_header(LOCATION, location)?;
        Ok(())
    }

    /// Which peer an authority in an answer means: that of the answer, if it is named as the client or we know it; another
    /// one of the cluster; nobody.
    fn peer_at(&self, ctx: &RequestContext, in_flight: &InFlight, authority: &str) -> Option<crate::cluster::PeerId> {
        let answering = in_flight.peer();
        let address = answering.address().to_string();
        let verified = answering.tls().map(|tls| tls.server_name());
        let known = [Some(answering.authority()), Some(address.as_str()), verified, self.told_host.as_deref()];
        let client = (!ctx.authority.is_empty()).then_some(ctx.authority.as_str());
        if known.into_iter().chain([client]).flatten().any(|known| is_same_authority(authority, known)) {
            return Some(answering.id());
        }
        let others = self.cluster.snapshot();
        let other = others.iter().find(|peer| {
            let exact = |known: &str| authority.eq_ignore_ascii_case(known);
            exact(&peer.authority) || exact(&peer.address.to_string())
        });
        other.map(|peer| peer.id)
    }

    /// Says why an upload whose address no route of ours takes will fail.
    fn warn_of_unreachable(&self, in_flight: &InFlight, target: &str) {
        let path = target.split('?').next().unwrap_or_default();
        let forwarded = self.cluster.config().forward.iter().any(|prefix| path.starts_with(prefix.as_str()));
        if !path.starts_with("/v2/") && !forwarded {
            tracing::warn!(
                peer = in_flight.peer().authority(),
                path,
                "a peer's upload address is outside /v2/ and below no `forward` of its cluster: nobody can push there"
            );
        }
    }
}

/// The path and query of an upload that `in_flight`'s peer opened, when it was asked for `asked` and named so; `None` when it is
/// on another host.
pub(super) fn on_peer(in_flight: &InFlight, location: &str, asked: &str, named: &[Option<&str>]) -> Option<String> {
    match address(location, asked) {
        Address::Here(target) => Some(target),
        Address::At(authority, target) => {
            let address = in_flight.peer().address().to_string();
            let own = [Some(in_flight.peer().authority()), Some(address.as_str())];
            let known = own.iter().chain(named).flatten().any(|known| is_same_authority(authority, known));
            known.then_some(target)
        }
    }
}
