//! The thread that owns an [`Engine`], and the queue in front of it.
//!
//! *Invariants*: batches become durable in the order in which they were queued; what queued while the last group
//! was being synced is the next group, without any timer; an idle thread sleeps until somebody calls. The thread is
//! started by the first append, so a log that nobody uses has none.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::options::SegmentOptions;
use super::record::record_bytes;
use super::writer::Engine;
use crate::event::Event;
use crate::log::contract::Acknowledge;
use crate::log::{AppendError, Appended, Ticket};

/// The thread formats no more than a log line and calls the file system: 256 KiB of address space is ample, and only
/// what it touches costs memory.
const STACK_BYTES: usize = 256 << 10;

/// A batch that waits.
#[derive(Debug)]
struct Waiting {
    events: Vec<Event>,
    bytes: usize,
    acknowledge: Acknowledge,
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: VecDeque<Waiting>,
    /// Bytes waiting or being written.
    bytes: usize,
    rolls: Vec<oneshot::Sender<()>>,
    closed: bool,
    asleep: bool,
    /// The engine, while it has no thread.
    engine: Option<Box<Engine>>,
    done: Vec<oneshot::Sender<()>>,
    finished: bool,
}

/// The queue in front of an engine.
#[derive(Debug)]
pub(super) struct Queue {
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    queue_bytes: usize,
    batch_bytes_max: usize,
    group_bytes: usize,
}

impl Queue {
    pub(super) fn new(engine: Engine, options: &SegmentOptions) -> Arc<Self> {
        let inbox = Inbox { engine: Some(Box::new(engine)), ..Inbox::default() };
        Arc::new(Self {
            inbox: Mutex::new(inbox),
            arrived: Condvar::new(),
            queue_bytes: options.queue_bytes,
            batch_bytes_max: options.batch_bytes_max,
            group_bytes: options.group_bytes,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        // Every critical section leaves the value whole, so a panic elsewhere does not spoil it.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a batch.
    pub(super) fn push(self: &Arc<Self>, events: Vec<Event>) -> Result<Ticket, AppendError> {
        let bytes: usize = events.iter().map(record_bytes).sum();
        if bytes > self.batch_bytes_max {
            return Err(AppendError::TooLarge { bytes, limit_bytes: self.batch_bytes_max });
        }
        let (acknowledge, ticket) = Ticket::new();
        let mut inbox = self.lock();
        if inbox.closed {
            return Err(AppendError::Closed);
        }
        if inbox.bytes > 0 && inbox.bytes.saturating_add(bytes) > self.queue_bytes {
            return Err(AppendError::Overloaded { queued_bytes: inbox.bytes });
        }
        self.start(&mut inbox).map_err(|error| AppendError::Full(format!("cannot start the log's thread: {error}")))?;
        inbox.bytes += bytes;
        inbox.waiting.push_back(Waiting { events, bytes, acknowledge });
        self.wake(inbox);
        Ok(ticket)
    }

    /// Asks for a new segment; resolves when that was tried. `None` when the log has no thread: it wrote nothing
    /// since it was opened.
    pub(super) fn roll(self: &Arc<Self>) -> io::Result<oneshot::Receiver<()>> {
        let (sender, receiver) = oneshot::channel();
        let mut inbox = self.lock();
        if inbox.closed {
            return Ok(receiver);
        }
        self.start(&mut inbox)?;
        inbox.rolls.push(sender);
        self.wake(inbox);
        Ok(receiver)
    }

    /// Refuses further appends. The receiver resolves when the engine is gone; the engine is returned where it had
    /// no thread that could end it.
    pub(super) fn close(&self) -> (Option<Box<Engine>>, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let mut inbox = self.lock();
        inbox.closed = true;
        let engine = inbox.engine.take();
        if engine.is_some() {
            inbox.finished = true;
        } else if !inbox.finished {
            inbox.done.push(sender);
        }
        self.wake(inbox);
        (engine, receiver)
    }

    fn wake(&self, mut inbox: MutexGuard<'_, Inbox>) {
        let asleep = mem::take(&mut inbox.asleep);
        drop(inbox);
        if asleep {
            self.arrived.notify_one();
        }
    }

    fn start(self: &Arc<Self>, inbox: &mut Inbox) -> io::Result<()> {
        let Some(engine) = inbox.engine.take() else { return Ok(()) };
        // The engine goes in by a slot, so that it is not lost when the thread cannot be made.
        let slot = Arc::new(Mutex::new(Some(engine)));
        let (queue, taken) = (self.clone(), slot.clone());
        let spawned = std::thread::Builder::new().name("log".to_owned()).stack_size(STACK_BYTES).spawn(move || {
            let engine = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(engine) = engine {
                queue.run(*engine);
            }
        });
        spawned.map(drop).inspect_err(|_| inbox.engine = slot.lock().unwrap_or_else(PoisonError::into_inner).take())
    }

    fn run(&self, mut engine: Engine) {
        let mut group = Group::default();
        while self.take(&mut group) {
            if !group.batches.is_empty() {
                let answer = engine.commit(&group.batches);
                if answer.is_err() {
                    engine.view().metrics.refusals.inc_by(group.batches.len() as u64);
                }
                group.answer(&answer);
                self.lock().bytes -= mem::take(&mut group.bytes);
            }
            for done in group.rolls.drain(..) {
                // A roll that fails shows as the log's health.
                let _ = engine.roll();
                let _ = done.send(());
            }
        }
        engine.finish();
        drop(engine);
        let mut inbox = self.lock();
        inbox.finished = true;
        for done in inbox.done.drain(..) {
            let _ = done.send(());
        }
    }

    /// Waits for work and takes a group of it; `false` when the log is closed and all is done.
    fn take(&self, group: &mut Group) -> bool {
        let mut inbox = self.lock();
        loop {
            if !inbox.waiting.is_empty() || !inbox.rolls.is_empty() {
                break;
            }
            if inbox.closed {
                return false;
            }
            inbox.asleep = true;
            inbox = self.arrived.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        group.rolls.append(&mut inbox.rolls);
        while let Some(next) = inbox.waiting.front() {
            if !group.batches.is_empty() && group.bytes + next.bytes > self.group_bytes {
                break;
            }
            if let Some(next) = inbox.waiting.pop_front() {
                group.bytes += next.bytes;
                group.answers.push((next.acknowledge, next.events.len() as u64));
                group.batches.push(next.events);
            }
        }
        true
    }
}

/// What is committed together.
#[derive(Debug, Default)]
struct Group {
    batches: Vec<Vec<Event>>,
    answers: Vec<(Acknowledge, u64)>,
    rolls: Vec<oneshot::Sender<()>>,
    bytes: usize,
}

impl Group {
    fn answer(&mut self, answer: &Result<Appended, AppendError>) {
        let mut before = 0;
        for (acknowledge, count) in self.answers.drain(..) {
            acknowledge.send(match answer {
                Ok(whole) => Ok(Appended { first: whole.first.plus(before), count, appended: whole.appended }),
                Err(error) => Err(error.clone()),
            });
            before += count;
        }
        self.batches.clear();
    }
}
