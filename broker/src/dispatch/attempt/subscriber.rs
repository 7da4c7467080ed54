//! Events to the subscriber: one, or in batched content mode several in one request, whose one answer counts for each.
//!
//! What the answer to a batch means (decisions):
//! - 2xx settles all of it; a CloudEvent in a 200 replies to the batch as a whole, is stored once, and has one hop less
//!   than the event of the batch that has the fewest left.
//! - A failure that may pass uses one attempt of each event, and each waits by its own count.
//! - **No event is given up for what became of its company.** A batch that is refused is sent again at once in halves,
//!   so that an event which the subscriber cannot take ends up alone, and its neighbours are delivered. An event whose
//!   last attempt is due goes alone ([`crate::dispatch::window`] sees to that), and so does one whose only attempt
//!   (`retry: 0`) failed in company. Only an address that nobody can dial condemns all at once.

use bytes::Bytes;
use futures_util::future::join_all;

use super::{Done, End, Job, Load, Means, STRIKES_MAX, Tried, Unread, give_up, note_event, read_one, send};
use crate::dead_letter::Reason;
use crate::deliver::{Failure, Outcome};
use crate::dispatch::budget::Kept;
use crate::dispatch::retry::{self, Next};
use crate::event::Event;
use crate::triggers::{TriggerEntry, WakeTarget};

/// An event in memory for the time of the attempt.
enum Held {
    /// With the permit, which lives as long.
    Kept(Kept),
    Read(Event),
}

impl Held {
    fn event(&self) -> &Event {
        match self {
            Self::Kept(kept) => &kept.event,
            Self::Read(event) => event,
        }
    }
}

/// Makes the attempt.
pub(super) async fn run(means: &Means, jobs: Vec<Job>) -> Vec<Done> {
    let mut done = Vec::with_capacity(jobs.len());
    let loaded = load(means, jobs, &mut done).await;
    let Some((first, held)) = loaded.first() else { return done };
    note_event(held.event());
    let settings = first.settings.clone();
    let company = loaded.len();
    let rest = loaded.iter().skip(1).map(|(_, held)| held.event().clone()).collect();
    let events = (held.event().clone(), rest);
    let Some(target) = settings.subscriber.clone() else {
        let why = settings.subscriber_waits().unwrap_or_default();
        done.extend(loaded.iter().map(|(job, _)| Done::of(job, None, End::Deferred { why: why.clone() })));
        return done;
    };
    let (mut outcome, mut tried) = send(means, &settings.entry, target, events, false).await;
    let strikes = loaded.iter().map(|(job, _)| job.strikes).max().unwrap_or_default();
    if found_nobody(&outcome, &tried, &settings.entry, strikes) {
        done.extend(loaded.iter().map(|(job, _)| Done { company, ..Done::of(job, Some(tried.clone()), End::Nobody) }));
        return done;
    }
    if let Outcome::Delivered { reply: Some(reply), .. } = &outcome {
        match store_reply(means, &loaded, reply, tried.code).await {
            Ok(end) => {
                let ends =
                    std::iter::once(end).chain(std::iter::repeat(End::Settled { replied: false, hop_limit: false }));
                let all = loaded.iter().zip(ends);
                done.extend(all.map(|((job, _), end)| Done { company, ..Done::of(job, Some(tried.clone()), end) }));
                return done;
            }
            Err(failure) => {
                // As if the subscriber had never seen it: the whole delivery is retried.
                tried.delivered = false;
                tried.retryable = true;
                tried.error = Some(failure.error.clone());
                outcome = Outcome::Retryable(failure);
            }
        }
    }
    let (outcome, tried) = (&outcome, &tried);
    let judged = loaded.iter().map(|(job, held)| async move {
        let end = judge(means, job, held.event(), outcome.clone(), company).await;
        Done { company, ..Done::of(job, Some(tried.clone()), end) }
    });
    done.extend(join_all(judged).await);
    done
}

/// Brings the events into memory. Those that cannot be had are done; after one that only failed to be read, all wait,
/// for a later one of its key may not overtake it.
async fn load(means: &Means, jobs: Vec<Job>, done: &mut Vec<Done>) -> Vec<(Job, Held)> {
    let mut loaded = Vec::with_capacity(jobs.len());
    let mut failed: Option<String> = None;
    for mut job in jobs {
        let held = match (std::mem::replace(&mut job.load, Load::Stored), &failed) {
            (_, Some(why)) => Err(Unread::Failed(why.clone())),
            (Load::Kept(kept), None) => Ok(Held::Kept(kept)),
            (Load::Stored | Load::Letter(_), None) => read_one(&*means.logs.events, job.offset).await.map(Held::Read),
        };
        match held {
            Ok(held) => loaded.push((job, held)),
            Err(unread) => {
                if let Unread::Failed(why) = &unread {
                    failed = Some(why.clone());
                }
                done.push(Done::of(&job, None, unread.into()));
            }
        }
    }
    loaded
}

/// No answer although there was time for one: it died, or a connection was left over from its former life.
fn found_nobody(outcome: &Outcome, tried: &Tried, entry: &TriggerEntry, strikes: u8) -> bool {
    let Outcome::Retryable(failure) = outcome else { return false };
    match &entry.wake {
        None => false,
        Some(WakeTarget::Exec(_)) => {
            let cut_off = failure.unreachable || (failure.code.is_none() && tried.took < entry.delivery.timeout);
            cut_off && strikes < STRIKES_MAX
        }
        // The transport knows the endpoints: it says so only while they are missing, starting, or going.
        Some(WakeTarget::Scale(_)) => failure.unreachable,
    }
}

async fn judge(means: &Means, job: &Job, event: &Event, outcome: Outcome, company: usize) -> End {
    let attempts = job.attempts.saturating_add(1);
    match retry::decide(outcome, attempts, &job.settings.entry.delivery, job.jitter) {
        Next::Settle | Next::SettleAfterReply(_) => End::Settled { replied: false, hop_limit: false },
        Next::Retry { wait } => End::Retry { wait },
        Next::DeadLetter { reason, failure } => match retry::apart(reason, company) {
            Some(most) => End::Apart { most },
            None => give_up(means, job, event, reason, &failure).await,
        },
    }
}

/// Makes a reply durable; only then may the events that it answers be settled.
async fn store_reply(
    means: &Means,
    answered: &[(Job, Held)],
    reply: &Event,
    code: Option<u16>,
) -> Result<End, Failure> {
    let refused = |error: String| Failure {
        code: None,
        error: format!("the reply could not be stored: {error}"),
        body: Bytes::new(),
        retry_after: None,
        unreachable: false,
    };
    let fewest = answered.iter().min_by_key(|(_, held)| retry::hops(held.event()));
    let Some((job, original)) = fewest else { return Ok(End::Settled { replied: false, hop_limit: false }) };
    if let Some(reply) = retry::with_hops(reply, original.event()) {
        means.logs.events.append(vec![reply]).await.map_err(|error| refused(error.to_string()))?;
        return Ok(End::Settled { replied: true, hop_limit: false });
    }
    tracing::warn!(
        broker = %means.logs.key, trigger = %means.key, offset = %job.offset, event_id = reply.id(),
        "a reply has no hops left: do its subscribers answer each other? it is kept as a dead letter"
    );
    let failure = Failure { code, ..refused("it has no hops left (knativebrokerttl)".to_owned()) };
    match give_up(means, job, reply, Reason::HopLimit, &failure).await {
        End::Deferred { why } => Err(refused(why)),
        _ => Ok(End::Settled { replied: false, hop_limit: true }),
    }
}
