//! The HTTP server under every listener: connections within limits, and an end that finishes what is under way.
//!
//! *Inputs*: a listener, routes, [`ServerLimits`], a token that says when to stop. *Outputs*: answers; [`Drained`] at
//! the end. *Invariants*: never more connections than allowed (further ones wait in the kernel's queue); a connection
//! that sends no whole request head in time is cut. HTTP/1.1, and HTTP/2 with prior knowledge. *Not here*: TLS, limits
//! on bodies, which are the routes' own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::{self, Patience};

/// Pause after the system refused a connection (out of file descriptors, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Requests of one HTTP/2 connection answered at once; hyper's own default, written down.
const HTTP2_STREAMS_MAX: u32 = 200;

/// What a server allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Longest time from the first byte of a request to the end of its head, and from connecting to the end of the
    /// first head.
    pub head_timeout: Duration,
    /// How long a kept-alive connection may be idle.
    pub idle_timeout: Duration,
    /// Largest request head, in bytes; also the largest piece of a body read at once. At least 8 KiB.
    pub head_bytes: usize,
    /// Connections open at once.
    pub connections: usize,
    /// How long the end waits for requests under way.
    pub drain_timeout: Duration,
}

impl Default for ServerLimits {
    /// 10 s for a head (Knative's ingress has the same); 120 s idle, longer than the 90 s after which the usual
    /// clients give up a pooled connection, so that it is they who close; 64 KiB of head, room for every attribute
    /// that clients put into headers; 4,096 connections; 25 s to drain, within the 30 s Kubernetes gives by default.
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            head_bytes: 64 << 10,
            connections: 4096,
            drain_timeout: Duration::from_secs(25),
        }
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still busy when the time to drain was over, and were cut.
    pub cut: usize,
}

/// Smallest read buffer that hyper takes, in bytes.
const HEAD_BYTES_MIN: usize = 8 << 10;

/// Serves `router` on `listener` until `shutdown` is cancelled; then stops accepting, lets requests under way finish
/// within [`ServerLimits::drain_timeout`], and returns.
///
/// # Cancel safety
/// Dropping it closes the listener and every connection at once.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServerLimits,
    shutdown: CancellationToken,
) -> Drained {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(limits.head_bytes.max(HEAD_BYTES_MIN));
    let head_bytes = u32::try_from(limits.head_bytes).unwrap_or(u32::MAX);
    builder.http2().max_header_list_size(head_bytes).max_concurrent_streams(HTTP2_STREAMS_MAX);
    let builder = Arc::new(builder);
    let patience = Patience { head: limits.head_timeout, idle: limits.idle_timeout };
    let permits = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = permits.clone().acquire_owned().await;
            (accept(&listener).await, permit)
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            (stream, permit) = next => {
                let (router, builder, shutdown) = (router.clone(), builder.clone(), shutdown.child_token());
                connections.spawn(async move {
                    connection::serve(stream, router, builder, patience, shutdown).await;
                    drop(permit);
                });
            }
        }
    }
    drop(listener);
    drain(connections, limits.drain_timeout).await
}

/// The next connection; errors are waited out, since a listener's errors are those of one connection or of the
/// moment.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
                return stream;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn drain(mut connections: JoinSet<()>, within: Duration) -> Drained {
    let finished = tokio::time::timeout(within, async { while connections.join_next().await.is_some() {} }).await;
    let cut = match finished {
        Ok(()) => 0,
        Err(_) => {
            tracing::warn!(cut = connections.len(), "requests were still under way at the end of the time to drain");
            connections.len()
        }
    };
    connections.shutdown().await;
    Drained { cut }
}
