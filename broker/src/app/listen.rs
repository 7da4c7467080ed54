//! The three addresses.

use std::net::SocketAddr;

use serde::Serialize;
use tokio::net::TcpListener;

/// Where a running broker listens; printed by `--print-addrs` as one JSON line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Addrs {
    /// Publishers.
    pub ingress: SocketAddr,
    /// Kubelet and Prometheus.
    pub health: SocketAddr,
    /// The CLI.
    pub admin: SocketAddr,
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {addr} ({flag}): {error}; free the port, or choose another with {flag} (0 takes any free one)"
)]
pub(super) struct ListenError {
    addr: SocketAddr,
    flag: &'static str,
    error: std::io::Error,
}

/// Opens one listener; `flag` is how a person chooses its address.
pub(super) async fn bind(addr: SocketAddr, flag: &'static str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(addr).await.map_err(|error| ListenError { addr, flag, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_names_the_flag() {
        let first = bind("127.0.0.1:0".parse().unwrap(), "--ingress-addr").await.unwrap();
        let error = bind(first.local_addr().unwrap(), "--ingress-addr").await.unwrap_err().to_string();
        assert!(error.contains("--ingress-addr") && error.contains("in use"), "{error}");
    }
}
