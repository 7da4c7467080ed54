//! When to stop: the signals that ask for it.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that asks to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM: a kubelet, a service manager.
    Terminate,
    /// SIGINT: Ctrl-C.
    Interrupt,
}

impl Asked {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }

    /// The code with which a shell reports a program that it ended.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Terminate => 128 + 15,
            Self::Interrupt => 128 + 2,
        }
    }
}

/// SIGTERM and SIGINT, which are remembered from when this is made.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Takes both signals over; their default effect is gone for the rest of the process's life.
    ///
    /// # Errors
    /// When the process may not install signal handlers.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits until one comes, or has come since the last call.
    ///
    /// # Cancel safety
    /// May be dropped; what comes meanwhile is told by the next call.
    pub async fn asked(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Terminate,
            _ = self.interrupt.recv() => Asked::Interrupt,
        }
    }
}

/// Gives both signals the effect that they have by default. The first process of a container has no defaults: the
/// kernel keeps from it every signal that it does not ask for. Elsewhere this does nothing.
///
/// # Errors
/// When the process may not install signal handlers.
pub fn obey_as_first_process() -> std::io::Result<()> {
    if std::process::id() == 1 {
        let mut signals = StopSignals::install()?;
        tokio::spawn(async move { std::process::exit(signals.asked().await.code()) });
    }
    Ok(())
}
