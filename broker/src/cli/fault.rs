//! How a command ends: its exit code and what it says on stderr.

use std::fmt;
use std::io;
use std::process::ExitCode;

use schemas::admin::Problem;
use schemas::error_code::ErrorCode;

/// Exit codes, stable for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did not work.
    Failed = 1,
    /// It was asked for in a way that makes no sense.
    Usage = 2,
    /// The thing is not there.
    NotFound = 3,
    /// The broker said no.
    Refused = 4,
    /// There is no broker at the address.
    Unreachable = 5,
}

/// Why a command ended early.
#[derive(Debug)]
pub struct Fault {
    exit: Exit,
    /// Empty when there is nobody left to tell: the reader of our output has gone.
    message: String,
}

impl Fault {
    /// A fault with this exit code.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// A fault of the arguments.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Its exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Says it on stderr; the code to end with.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        if self.message.is_empty() {
            return ExitCode::SUCCESS;
        }
        eprintln!("error: {self}");
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, format!("{error:#}"))
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        // `reveille events ls | head` is no failure.
        let message = if error.kind() == io::ErrorKind::BrokenPipe { String::new() } else { error.to_string() };
        Self::new(Exit::Failed, message)
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::new(exit_of(problem.code), problem.detail)
    }
}

/// The exit code that stands for an error code.
fn exit_of(code: ErrorCode) -> Exit {
    match code {
        ErrorCode::NotFound | ErrorCode::UnknownBroker | ErrorCode::BadPath => Exit::NotFound,
        ErrorCode::BadRequest => Exit::Usage,
        ErrorCode::MalformedEvent
        | ErrorCode::UnsupportedFormat
        | ErrorCode::MethodNotAllowed
        | ErrorCode::EventTooLarge
        | ErrorCode::RequestTooLarge
        | ErrorCode::Overloaded
        | ErrorCode::OutOfSpace
        | ErrorCode::LogUnavailable
        | ErrorCode::ShuttingDown
        | ErrorCode::StartingUp
        | ErrorCode::RequestTimeout
        | ErrorCode::Unauthorized
        | ErrorCode::Refused => Exit::Refused,
        ErrorCode::Internal => Exit::Failed,
    }
}
