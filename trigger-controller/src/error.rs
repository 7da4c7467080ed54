//! What can go wrong between this program and the API server.

/// Why a write was not made, or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// Another process may be the leader by now.
    #[error("not the leader any more")]
    NotLeader,
    /// The object is gone, or is another one of the same name: nothing to write.
    #[error("the object is gone")]
    Gone,
    /// The object changed meanwhile; its newer state comes through the watch.
    #[error("the object changed meanwhile: {0}")]
    Conflict(String),
    /// The API server gave no answer in time.
    #[error("the API server did not answer in time")]
    Timeout,
    /// Another writer keeps undoing the write.
    #[error("the status does not keep what is written; another controller or an admission policy changes it")]
    Unsettled,
    /// The API server refused.
    #[error("the API server refused: {0}")]
    Refused(String),
    /// The API server could not be asked.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
}

impl WriteError {
    /// A closed set of words for a metric.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::NotLeader => "not_leader",
            Self::Gone => "gone",
            Self::Conflict(_) => "conflict",
            Self::Timeout => "timeout",
            Self::Unsettled => "unsettled",
            Self::Refused(_) => "refused",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match code(&error) {
            Some(404) => Self::Gone,
            Some(409) => Self::Conflict(words(&error)),
            Some(_) => Self::Refused(words(&error)),
            None => Self::Unreachable(words(&error)),
        }
    }
}

/// The HTTP status that the API server answered, if it did.
pub(crate) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// The API server's words, or the chain of causes.
pub(crate) fn words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let text = next.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = next.source();
    }
    words
}
