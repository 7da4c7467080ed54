//! The way from the test process, which lives outside, to the API server inside the cluster's network namespace.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

/// Listens on loopback outside, and forwards every connection to `target` inside the namespace of process `init`.
/// Sockets stay in the namespace that they were made in: the listener is made before its thread moves.
pub(super) fn start(init: u32, target: SocketAddr) -> io::Result<SocketAddr> {
    let namespace = File::open(format!("/proc/{init}/ns/net"))?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name("cluster-relay".into()).spawn(move || {
        if let Err(error) = serve(&namespace, listener, target) {
            eprintln!("the relay to the test cluster ended: {error}");
        }
    })?;
    Ok(address)
}

fn serve(namespace: &File, listener: TcpListener, target: SocketAddr) -> io::Result<()> {
    use std::os::fd::AsFd as _;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    // One thread: whatever it connects is then connected inside.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (mut outside, _) = listener.accept().await?;
            tokio::spawn(async move {
                // A connection that fails is closed, which is what its client would see without a relay.
                if let Ok(mut inside) = TcpStream::connect(target).await {
                    let _ = copy_bidirectional(&mut outside, &mut inside).await;
                }
            });
        }
    })
}
