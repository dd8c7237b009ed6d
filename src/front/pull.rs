//! One pull from a cluster: what its steps share.

use bytes::Bytes;
use http::Response;

use super::{Front, Next, Standing};
use crate::exchange::RequestContext;
use crate::exchange::respond::send;

/// A GET or HEAD of content, for one client.
pub struct Pull<'a> {
    pub front: &'a Front,
    pub exchange: &'a mut Exchange,
    pub ctx: &'a mut RequestContext,
    /// The client's, with the repository that it pulls from.
    pub standing: Standing,
}

impl Pull<'_> {
    /// A small answer ends it.
    pub(super) async fn answer(&mut self, response: Response<Bytes>) -> Result<Next> {
        send(self.exchange, self.ctx, response).await?;
        Ok(Next::Answered)
    }
}
use crate::listener::{Exchange, Result};
