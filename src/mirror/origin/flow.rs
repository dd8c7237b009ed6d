//! A body on its way from a remote, as a fill takes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::time::Instant;

use super::turns::{CLAIM_TIME, Lease, RENEW};
use crate::cache::OriginError;
use crate::fleet::Held;
use crate::mirror::metrics::FillUnderWay;

pub(super) struct Claimed(pub Held);

#[async_trait]
impl Lease for Claimed {
    async fn renew(&self) -> bool {
        self.0.renew(CLAIM_TIME).await
    }
}

pub(super) struct Flow {
    pub body: BoxStream<'static, Result<Bytes, String>>,
    pub lease: Option<Arc<dyn Lease>>,
    pub renewed: Instant,
    pub _busy: Option<Busy>,
    pub _under_way: FillUnderWay,
}

impl Flow {
    pub(super) fn into_body(self) -> BoxStream<'static, Result<Bytes, OriginError>> {
        let body = stream::unfold(self, |mut flow| async {
            let item = flow.body.next().await?;
            flow.renew();
            Some((item.map_err(OriginError::Broken), flow))
        });
        body.boxed()
    }

    /// Beside the bytes, which do not wait for it.
    fn renew(&mut self) {
        if let Some(lease) = &self.lease
            && self.renewed.elapsed() >= RENEW
        {
            self.renewed = Instant::now();
            let lease = lease.clone();
            tokio::spawn(async move { lease.renew().await });
        }
    }
}

/// A stream that a client waits for: meanwhile nothing is fetched ahead.
pub(super) struct Busy(Arc<AtomicUsize>);

impl Busy {
    pub(super) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Busy(count.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
