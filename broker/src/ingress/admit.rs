//! Which requests get into memory: a limit on each body while it is read, one on all of them, and one on time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use prometheus_client::metrics::gauge::Gauge;

use super::PublishError;

/// Most bytes that are read and thrown away after a refusal, so that the publisher gets to see the answer instead of
/// a reset connection. What sends more than four times the largest event by default is cut off.
const LINGER_BYTES_MAX: usize = 4 << 20;
/// Longest time for the same; a publisher that is still sending then has not looked at the answer.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// The bytes that requests may hold together.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    gauge: Gauge,
}

/// A share of the budget; given back when dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the bytes back"]
pub(super) struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(limit_bytes: usize, gauge: Gauge) -> Self {
        Self(Arc::new(Inner { limit_bytes, used_bytes: AtomicUsize::new(0), gauge }))
    }

    fn reserve(&self, bytes: usize) -> Result<Reservation, PublishError> {
        let mut reservation = Reservation { budget: self.clone(), bytes: 0 };
        reservation.grow_to(bytes)?;
        Ok(reservation)
    }
}

impl Reservation {
    fn grow_to(&mut self, bytes: usize) -> Result<(), PublishError> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let inner = &*self.budget.0;
        let before = inner.used_bytes.fetch_add(more, Ordering::AcqRel);
        if before.saturating_add(more) > inner.limit_bytes {
            inner.used_bytes.fetch_sub(more, Ordering::AcqRel);
            return Err(PublishError::Overloaded { limit_bytes: inner.limit_bytes });
        }
        self.bytes = bytes;
        inner.gauge.inc_by(i64::try_from(more).unwrap_or(i64::MAX));
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let inner = &*self.budget.0;
        inner.used_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        inner.gauge.dec_by(i64::try_from(self.bytes).unwrap_or(i64::MAX));
    }
}

/// What one body is measured by.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimit {
    pub(super) bytes: usize,
    /// Whether the limit is that of a batch, or that of one event.
    pub(super) batch: bool,
    pub(super) timeout: Duration,
}

impl BodyLimit {
    fn exceeded(self) -> PublishError {
        match self.batch {
            true => PublishError::RequestTooLarge { limit_bytes: self.bytes },
            false => PublishError::EventTooLarge { limit_bytes: self.bytes, index: None },
        }
    }
}

/// Reads a body to its end. What it holds is reserved before it arrives where its length is announced, else as it
/// arrives. The reservation is to be kept for as long as the bytes are.
pub(super) async fn read(
    budget: &Budget,
    body: &mut Body,
    limit: BodyLimit,
) -> Result<(Bytes, Reservation), PublishError> {
    let announced = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if announced.is_some_and(|bytes| bytes > limit.bytes) {
        return Err(limit.exceeded());
    }
    let mut reservation = budget.reserve(announced.unwrap_or(0))?;
    if body.is_end_stream() {
        return Ok((Bytes::new(), reservation));
    }
    let read = tokio::time::timeout(limit.timeout, collect(body, limit, &mut reservation));
    let bytes = read.await.map_err(|_| PublishError::BodyTimeout { after: limit.timeout })??;
    Ok((bytes, reservation))
}

async fn collect(body: &mut Body, limit: BodyLimit, reservation: &mut Reservation) -> Result<Bytes, PublishError> {
    // An ordinary event arrives in one piece, which is then used as it is.
    let mut whole = Bytes::new();
    let mut parts = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| PublishError::BodyBroken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let total = whole.len() + parts.len() + data.len();
        if total > limit.bytes {
            return Err(limit.exceeded());
        }
        reservation.grow_to(total)?;
        if parts.is_empty() && whole.is_empty() {
            whole = data;
        } else {
            parts.extend_from_slice(&std::mem::take(&mut whole));
            parts.extend_from_slice(&data);
        }
    }
    Ok(if parts.is_empty() { whole } else { parts.freeze() })
}

/// Reads the rest of a refused request and throws it away, within limits.
pub(super) async fn linger(mut body: Body) {
    let drain = async {
        let mut read = 0_usize;
        while let Some(Ok(frame)) = body.frame().await {
            read = read.saturating_add(frame.data_ref().map_or(0, Bytes::len));
            if read > LINGER_BYTES_MAX {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIMEOUT, drain).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_shared_and_comes_back() {
        let gauge = Gauge::default();
        let budget = Budget::new(100, gauge.clone());
        let mut one = budget.reserve(60).unwrap();
        assert_eq!(gauge.get(), 60);
        assert!(budget.reserve(41).is_err());
        let other = budget.reserve(40).unwrap();
        assert!(one.grow_to(61).is_err());
        assert_eq!(gauge.get(), 100);
        drop(other);
        one.grow_to(100).unwrap();
        drop(one);
        assert_eq!(gauge.get(), 0);
        let _all = budget.reserve(100).unwrap();
    }
}
