//! A dead letter to the dead letter sink: one request, one letter, in batched content mode too, so that the sink can
//! refuse one without the others. It stays in the dead-letter log whatever the sink says.

use super::{Done, End, Job, Means, note_event, read_one, send};
use crate::dead_letter::DeadLetter;
use crate::dispatch::retry::{self, Next};
use crate::log::Offset;

/// Sends a stored dead letter to the Trigger's dead letter sink.
pub(in crate::dispatch) async fn run(means: &Means, job: Job, letter: Offset) -> Done {
    let Some(sink) = job.settings.sink.clone() else {
        // The sink was taken away while the letter waited; the dead-letter log has it.
        return Done::of(&job, None, End::SinkGaveUp);
    };
    let stored = match read_one(&*means.logs.dead_letters, letter).await {
        Ok(stored) => stored,
        Err(unread) => return Done::of(&job, None, unread.into()),
    };
    let letter = match DeadLetter::from_event(&stored) {
        Ok(letter) => letter,
        Err(error) => return Done::of(&job, None, End::Missing { why: error.to_string() }),
    };
    note_event(&letter.event);
    let (outcome, tried) = send(means, &job.settings.entry, sink, (letter.for_sink(), Vec::new()), true).await;
    let attempts = job.attempts.saturating_add(1);
    let end = match retry::decide(outcome, attempts, &job.settings.entry.delivery, job.jitter) {
        Next::Settle | Next::SettleAfterReply(_) => End::Settled { replied: false, hop_limit: false },
        Next::Retry { wait } => End::Retry { wait },
        Next::DeadLetter { .. } => End::SinkGaveUp,
    };
    Done::of(&job, Some(tried), end)
}
