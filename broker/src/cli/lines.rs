//! Answers that come as one JSON object a line.

use bytes::{Buf, BytesMut};
use memchr::memchr;
use reqwest::Response;
use schemas::admin::StreamProblem;
use serde::de::DeserializeOwned;

use super::connect::cause;
use super::fault::{Exit, Fault};

/// Longest line, in bytes: the largest request a broker can be told to take, in base64 and with room for attributes.
const LINE_BYTES_MAX: usize = 512 << 20;

/// Reads items as they come.
#[derive(Debug)]
pub(super) struct Lines {
    response: Response,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of line.
    searched: usize,
    /// Parts of the answer that were missing.
    problems: u64,
}

impl Lines {
    pub(super) fn new(response: Response) -> Self {
        Self { response, buffer: BytesMut::new(), searched: 0, problems: 0 }
    }

    /// The next item; `None` at the end. What the broker says is missing goes to stderr, and makes
    /// [`Lines::finish`] fail.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Fault> {
        while let Some(line) = self.line().await? {
            if line.trim_ascii().is_empty() {
                continue;
            }
            if let Ok(StreamProblem { problem }) = serde_json::from_slice(&line) {
                eprintln!("warning: {}", problem.detail);
                self.problems += 1;
                continue;
            }
            return serde_json::from_slice(&line).map(Some).map_err(|error| {
                Fault::new(Exit::Failed, format!("the broker sent a line this release cannot read: {error}"))
            });
        }
        Ok(None)
    }

    /// Whether all was there.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        match self.problems {
            0 => Ok(()),
            _ => Err(Fault::new(Exit::Failed, "the list is not complete; the warnings above say what is missing")),
        }
    }

    async fn line(&mut self) -> Result<Option<BytesMut>, Fault> {
        loop {
            let unseen = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = memchr(b'\n', unseen) {
                let line = self.buffer.split_to(self.searched + at);
                self.buffer.advance(1);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_BYTES_MAX {
                return Err(Fault::new(
                    Exit::Failed,
                    format!("the broker sent a line of more than {LINE_BYTES_MAX} bytes"),
                ));
            }
            let chunk = self.response.chunk().await.map_err(|error| {
                let message = format!("the connection to the broker broke: {}; run the command again", cause(&error));
                Fault::new(Exit::Unreachable, message)
            })?;
            match chunk {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                // A last line without an end was cut off.
                None => return Ok((!self.buffer.is_empty()).then(|| self.buffer.split())),
            }
        }
    }
}
