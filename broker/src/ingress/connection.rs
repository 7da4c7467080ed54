//! One connection: how far its requests have come, and when that takes too long.
//!
//! hyper has a timer for reading a request's head, but it also runs while a kept-alive connection is idle, where a
//! longer time is right, and it is set anew for every request. So the times are kept here, by one lazy timer per
//! connection: while requests keep coming it never fires early and costs a clock reading per request.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use futures_util::future::BoxFuture;
use http::{Request, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

/// What a connection waits for at the most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) head: Duration,
    pub(super) idle: Duration,
}

/// What the timer finds when it fires.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// A request's head has been on its way for too long.
    Cut,
    /// Nothing has happened for too long.
    Close,
    /// Look again then.
    Wait(Instant),
}

/// What is known of a connection. Times are milliseconds since it was accepted.
#[derive(Debug)]
struct Progress {
    accepted: Instant,
    under_way: AtomicUsize,
    last_activity: AtomicU64,
    /// When the first byte of the head came that is not complete yet; [`Progress::NO_HEAD`] when there is none.
    head_since: AtomicU64,
    /// HTTP/2 frames come at any time, so that bytes do not tell of a head there.
    http2: AtomicBool,
}

impl Progress {
    const NO_HEAD: u64 = u64::MAX;

    /// A new connection owes us a request from the start.
    fn new() -> Self {
        Self {
            accepted: Instant::now(),
            under_way: AtomicUsize::new(0),
            last_activity: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            http2: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    fn bytes_came(&self) {
        if self.under_way.load(Ordering::Acquire) > 0 {
            return;
        }
        let now = self.now();
        self.last_activity.store(now, Ordering::Release);
        if !self.http2.load(Ordering::Acquire) {
            let _ = self.head_since.compare_exchange(Self::NO_HEAD, now, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    fn request_began(self: &Arc<Self>, version: Version) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        self.head_since.store(Self::NO_HEAD, Ordering::Release);
        if version == Version::HTTP_2 {
            self.http2.store(true, Ordering::Release);
        }
        UnderWay(self.clone())
    }

    fn verdict(&self, patience: Patience) -> Verdict {
        let at = |millis: u64, wait: Duration| self.accepted + Duration::from_millis(millis) + wait;
        let now = Instant::now();
        let head_since = self.head_since.load(Ordering::Acquire);
        if head_since != Self::NO_HEAD {
            let until = at(head_since, patience.head);
            return if until <= now { Verdict::Cut } else { Verdict::Wait(until) };
        }
        // A head may begin at any moment, so the next look must not be later than its time allows.
        let soon = now + patience.head;
        if self.under_way.load(Ordering::Acquire) > 0 {
            return Verdict::Wait(soon);
        }
        let until = at(self.last_activity.load(Ordering::Acquire), patience.idle);
        if until <= now { Verdict::Close } else { Verdict::Wait(until.min(soon)) }
    }
}

/// A request that is being answered.
struct UnderWay(Arc<Progress>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.last_activity.store(self.0.now(), Ordering::Release);
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Serves one connection to its end.
///
/// # Cancel safety
/// Dropping it closes the connection at once.
pub(super) async fn serve(
    stream: TcpStream,
    router: Router,
    builder: Arc<Builder<TokioExecutor>>,
    patience: Patience,
    shutdown: CancellationToken,
) {
    let progress = Arc::new(Progress::new());
    let io = TokioIo::new(Watched { stream, progress: progress.clone() });
    let service = Tracked { router, progress: progress.clone() };
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut timer = pin!(tokio::time::sleep(patience.head));
    let mut stopping = pin!(shutdown.cancelled_owned());
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended early");
                }
                return;
            }
            () = stopping.as_mut(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = timer.as_mut() => match progress.verdict(patience) {
                Verdict::Cut => {
                    tracing::debug!("connection cut: its request head took too long");
                    return;
                }
                Verdict::Close => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                    // Whatever still holds it open gets as long as a head does.
                    timer.as_mut().reset(Instant::now() + patience.head);
                }
                Verdict::Wait(until) => timer.as_mut().reset(until),
            },
        }
    }
}

/// The routes, with a note of each request under way.
struct Tracked {
    router: Router,
    progress: Arc<Progress>,
}

impl hyper::service::Service<Request<Incoming>> for Tracked {
    type Response = axum::response::Response;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = self.progress.request_began(request.version());
        // The router is always ready, which its documentation promises.
        let answer = self.router.clone().call(request);
        Box::pin(async move {
            let answer = answer.await;
            drop(under_way);
            answer
        })
    }
}

/// The socket, with a note of bytes that come.
#[derive(Debug)]
struct Watched {
    stream: TcpStream,
    progress: Arc<Progress>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.progress.bytes_came();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn verdicts() {
        let patience = Patience { head: Duration::from_secs(10), idle: Duration::from_secs(120) };
        let forward = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        let progress = Arc::new(Progress::new());
        assert!(matches!(progress.verdict(patience), Verdict::Wait(_)), "a new connection has time");
        forward(9).await;
        progress.bytes_came();
        forward(1).await;
        assert_eq!(progress.verdict(patience), Verdict::Cut, "bytes alone do not buy time");

        let under_way = progress.request_began(Version::HTTP_11);
        forward(500).await;
        progress.bytes_came();
        assert!(matches!(progress.verdict(patience), Verdict::Wait(_)), "a request under way has its own limits");
        drop(under_way);
        forward(119).await;
        assert!(matches!(progress.verdict(patience), Verdict::Wait(_)), "idle, not yet for too long");
        progress.bytes_came();
        forward(10).await;
        assert_eq!(progress.verdict(patience), Verdict::Cut, "a second head is timed as the first");

        drop(progress.request_began(Version::HTTP_2));
        forward(119).await;
        progress.bytes_came();
        forward(119).await;
        assert!(matches!(progress.verdict(patience), Verdict::Wait(_)), "frames of HTTP/2 are activity");
        forward(1).await;
        assert_eq!(progress.verdict(patience), Verdict::Close);
    }
}
