//! The three servers: publishers', health, admin.

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::listen::{Addrs, bind};
use crate::config::ServeConfig;
use crate::ingress::server::{self, Drained, ServerLimits};

/// Connections of the CLI and of probes open at once: a few operators, a kubelet, a Prometheus.
const SIDE_CONNECTIONS: usize = 64;

/// How long the side doors wait for their last requests.
const SIDE_DRAIN: Duration = Duration::from_secs(1);

/// The three servers, and the two moments at which they end.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) ingress: JoinHandle<Drained>,
    pub(super) sides: Vec<JoinHandle<Drained>>,
    pub(super) stop_ingress: CancellationToken,
    pub(super) stop_sides: CancellationToken,
}

/// The three sockets before anything is served on them.
#[derive(Debug)]
pub(super) struct Listeners {
    ingress: TcpListener,
    health: TcpListener,
    admin: TcpListener,
}

impl Listeners {
    pub(super) async fn bind(config: &ServeConfig) -> anyhow::Result<Self> {
        Ok(Self {
            ingress: bind(config.ingress_addr, "--ingress-addr").await?,
            health: bind(config.health_addr, "--health-addr").await?,
            admin: bind(config.admin_addr, "--admin-addr").await?,
        })
    }

    pub(super) fn addrs(&self) -> anyhow::Result<Addrs> {
        Ok(Addrs {
            ingress: self.ingress.local_addr()?,
            health: self.health.local_addr()?,
            admin: self.admin.local_addr()?,
        })
    }

    /// Serves them.
    pub(super) fn open(
        self,
        ingress: Router,
        health: Router,
        admin: Router,
        config: &ServeConfig,
        stop_sides: CancellationToken,
    ) -> Doors {
        let stop_ingress = CancellationToken::new();
        let wide = ServerLimits {
            connections: config.max_connections,
            drain_timeout: config.drain_timeout.0,
            ..ServerLimits::default()
        };
        let narrow =
            ServerLimits { connections: SIDE_CONNECTIONS, drain_timeout: SIDE_DRAIN, ..ServerLimits::default() };
        let side = |listener, router| tokio::spawn(server::serve(listener, router, narrow, stop_sides.clone()));
        let sides = vec![side(self.health, health), side(self.admin, admin)];
        let ingress = tokio::spawn(server::serve(self.ingress, ingress, wide, stop_ingress.clone()));
        Doors { ingress, sides, stop_ingress, stop_sides }
    }
}
