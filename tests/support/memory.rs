//! A store of claims in memory, correct and forgetful: the double behind which the HTTP layer is
//! tested. Its clock moves only when it is moved, and its writes fail when they are told to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use onceward::{
    Backend, BackendTicket, BackendWait, Claim, ClaimOptions, Error, ErrorKind, Fingerprint, Key,
    NOTE_OCTETS_MAX, Record, Resolution, Resolved, State, TicketError,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Shared>);

#[derive(Default)]
struct Shared {
    entries: Mutex<Entries>,
    /// Rung whenever any key is settled.
    settled: Notify,
    /// Completions wait while somebody holds this for writing.
    disk: Arc<tokio::sync::RwLock<()>>,
    /// Rung whenever a completion begins.
    completing: Notify,
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<(Vec<u8>, Vec<u8>), Entry>,
    now_ms: u64,
    last_number: u64,
    lookups: usize,
    fail: Fail,
}

/// What is to fail, and how.
#[derive(Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Fail {
    pub(crate) claim: Option<ErrorKind>,
    /// Nothing that is asked before work begins is ever answered.
    pub(crate) silent: bool,
    /// As many claims are in flight as there may be.
    pub(crate) no_room: bool,
    /// Payloads are refused with this kind, the ticket handed back.
    pub(crate) complete_refused: Option<ErrorKind>,
    /// Payloads are lost, and the ticket with them.
    pub(crate) complete_spent: bool,
    pub(crate) tombstone: bool,
    pub(crate) release: bool,
    /// Stored payloads read back as damaged.
    pub(crate) read: bool,
}

struct Entry {
    number: u64,
    print: Fingerprint,
    claimed_at_ms: u64,
    ttl_ms: u64,
    content: Content,
}

enum Content {
    InFlight,
    InDoubt { expires_at_ms: u64 },
    Payload { expires_at_ms: u64, payload: Bytes },
    Note { expires_at_ms: u64, note: Bytes },
}

impl Memory {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.entries.lock().now_ms += by.as_millis() as u64;
    }

    pub(crate) fn fail(&self, fail: Fail) {
        self.0.entries.lock().fail = fail;
    }

    /// Goes on once the store has not been told to be silent: else never.
    async fn speaks(&self) {
        let silent = self.0.entries.lock().fail.silent;
        if silent {
            std::future::pending::<()>().await;
        }
    }

    /// How often the store was asked about a key.
    pub(crate) fn lookups(&self) -> usize {
        self.0.entries.lock().lookups
    }

    /// The states of all live keys.
    pub(crate) fn states(&self) -> Vec<State> {
        let entries = self.0.entries.lock();
        entries.by_key.values().filter(|e| e.is_live(entries.now_ms)).map(Entry::state).collect()
    }

    /// Every octet the store was given to keep.
    pub(crate) fn payloads(&self) -> Vec<Bytes> {
        let entries = self.0.entries.lock();
        let kept = |entry: &Entry| match &entry.content {
            Content::Payload { payload, .. } => Some(payload.clone()),
            Content::Note { note, .. } => Some(note.clone()),
            _ => None,
        };
        entries.by_key.values().filter_map(kept).collect()
    }

    /// Puts other octets in the place of every stored payload.
    pub(crate) fn overwrite_payloads(&self, with: &'static [u8]) {
        for entry in self.0.entries.lock().by_key.values_mut() {
            if let Content::Payload { payload, .. } = &mut entry.content {
                *payload = Bytes::from_static(with);
            }
        }
    }

    /// As after a crash: every key in flight is in doubt, and its ticket is worth nothing.
    pub(crate) fn crash(&self) {
        let mut entries = self.0.entries.lock();
        let now_ms = entries.now_ms;
        for entry in entries.by_key.values_mut() {
            if matches!(entry.content, Content::InFlight) {
                entry.content = Content::InDoubt { expires_at_ms: now_ms + entry.ttl_ms };
                entry.number = 0;
            }
        }
        drop(entries);
        self.0.settled.notify_waiters();
    }

    /// Holds every completion back, from when it began, until the guard is dropped.
    pub(crate) async fn hold_the_disk(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.0.disk).write_owned().await
    }

    /// Waits until a completion has begun.
    pub(crate) async fn completing(&self) {
        self.0.completing.notified().await;
    }

    /// Waits until every live key is settled.
    pub(crate) async fn all_settled(&self) {
        loop {
            let settled = self.0.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if !self.states().contains(&State::InFlight) {
                return;
            }
            settled.await;
        }
    }

    fn try_claim(
        &self,
        id: &(Vec<u8>, Vec<u8>),
        print: Fingerprint,
        options: ClaimOptions,
    ) -> Result<Claim<Self>, Error> {
        let mut entries = self.0.entries.lock();
        entries.lookups += 1;
        if let Some(kind) = entries.fail.claim {
            return Err(Error::new(kind, "told to fail"));
        }
        let (now_ms, fail) = (entries.now_ms, entries.fail);
        if let Some(entry) = entries.by_key.get(id).filter(|entry| entry.is_live(now_ms)) {
            let record = entry.record(fail);
            if entry.print != print {
                return Ok(Claim::Mismatch(record));
            }
            return Ok(match record.state() {
                State::Complete => Claim::Replay(record),
                State::InDoubt => Claim::InDoubt(record),
                State::InFlight => Claim::InFlight(Waiting {
                    store: self.clone(),
                    id: id.clone(),
                    print,
                    options,
                    record,
                }),
            });
        }
        entries.last_number += 1;
        let number = entries.last_number;
        let ttl_ms = options.ttl_asked().unwrap_or(Duration::from_secs(86_400)).as_millis() as u64;
        let content = Content::InFlight;
        let entry = Entry { number, print, claimed_at_ms: now_ms, ttl_ms, content };
        entries.by_key.insert(id.clone(), entry);
        Ok(Claim::Granted(Ticket { store: self.clone(), id: id.clone(), number, used: false }))
    }
}

impl Entry {
    /// Valid while its age is at most the ttl (X9).
    fn is_live(&self, now_ms: u64) -> bool {
        match self.content {
            Content::InFlight => true,
            Content::InDoubt { expires_at_ms }
            | Content::Payload { expires_at_ms, .. }
            | Content::Note { expires_at_ms, .. } => now_ms <= expires_at_ms,
        }
    }

    fn state(&self) -> State {
        match self.content {
            Content::InFlight => State::InFlight,
            Content::InDoubt { .. } => State::InDoubt,
            Content::Payload { .. } | Content::Note { .. } => State::Complete,
        }
    }

    fn record(&self, fail: Fail) -> Record {
        let bare = |expires| Record::bare(self.state(), self.print, self.claimed_at_ms, expires);
        match &self.content {
            Content::InFlight => bare(None),
            Content::InDoubt { expires_at_ms } => bare(Some(*expires_at_ms)),
            Content::Payload { expires_at_ms, payload } => {
                let payload = if fail.read { Bytes::from_static(b"\xff") } else { payload.clone() };
                bare(Some(*expires_at_ms)).with_payload(payload)
            }
            Content::Note { expires_at_ms, note } => {
                bare(Some(*expires_at_ms)).with_note(note.clone())
            }
        }
    }
}

fn id(key: Key<'_>) -> (Vec<u8>, Vec<u8>) {
    (key.scope().to_vec(), key.key().to_vec())
}

impl Backend for Memory {
    type Ticket = Ticket;
    type Wait = Waiting;

    fn claim(
        &self,
        key: Key<'_>,
        print: Fingerprint,
        options: ClaimOptions,
    ) -> impl Future<Output = Result<Claim<Self>, Error>> + Send + 'static {
        let (store, id) = (self.clone(), id(key));
        async move {
            store.speaks().await;
            store.try_claim(&id, print, options)
        }
    }

    fn has_room(&self, _scope: &[u8]) -> bool {
        !self.0.entries.lock().fail.no_room
    }

    fn get(
        &self,
        key: Key<'_>,
    ) -> impl Future<Output = Result<Option<Record>, Error>> + Send + 'static {
        let (store, id) = (self.clone(), id(key));
        async move {
            store.speaks().await;
            let mut entries = store.0.entries.lock();
            entries.lookups += 1;
            let (now_ms, fail) = (entries.now_ms, entries.fail);
            if let Some(kind) = fail.claim {
                return Err(Error::new(kind, "told to fail"));
            }
            let live = entries.by_key.get(&id).filter(|entry| entry.is_live(now_ms));
            Ok(live.map(|entry| entry.record(fail)))
        }
    }

    fn resolve(
        &self,
        key: Key<'_>,
        resolution: Resolution,
    ) -> impl Future<Output = Result<Resolved, Error>> + Send + 'static {
        let (store, id) = (self.clone(), id(key));
        async move {
            store.speaks().await;
            let mut entries = store.0.entries.lock();
            let now_ms = entries.now_ms;
            let Some(entry) = entries.by_key.get_mut(&id).filter(|e| e.is_live(now_ms)) else {
                return Ok(Resolved::Absent);
            };
            match (entry.state(), resolution) {
                (State::InFlight, _) => return Ok(Resolved::InFlight),
                (State::Complete, _) => return Ok(Resolved::Complete),
                (State::InDoubt, Resolution::Complete(payload)) => {
                    let expires_at_ms = now_ms + entry.ttl_ms;
                    entry.content = Content::Payload { expires_at_ms, payload };
                }
                (State::InDoubt, Resolution::Release) => drop(entries.by_key.remove(&id)),
            }
            Ok(Resolved::Done)
        }
    }
}

pub(crate) struct Ticket {
    store: Memory,
    id: (Vec<u8>, Vec<u8>),
    number: u64,
    used: bool,
}

impl Ticket {
    /// Settles the key if this ticket still holds it.
    fn settle(&mut self, content: impl FnOnce(u64) -> Option<Content>) -> Result<(), Error> {
        self.used = true;
        let mut entries = self.store.0.entries.lock();
        let now_ms = entries.now_ms;
        let held = entries.by_key.get_mut(&self.id).filter(|entry| entry.number == self.number);
        let Some(entry) = held else { return Err(Error::new(ErrorKind::Fenced, "not the owner")) };
        match content(now_ms + entry.ttl_ms) {
            Some(content) => entry.content = content,
            None => drop(entries.by_key.remove(&self.id)),
        }
        drop(entries);
        self.store.0.settled.notify_waiters();
        Ok(())
    }

    fn told(&self) -> Fail {
        self.store.0.entries.lock().fail
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.used {
            let _ = self.settle(|expires_at_ms| Some(Content::InDoubt { expires_at_ms }));
        }
    }
}

fn spent() -> Error {
    Error::new(ErrorKind::Poisoned, "told to fail")
}

impl BackendTicket for Ticket {
    fn number(&self) -> u64 {
        self.number
    }

    async fn complete(mut self, payload: Bytes) -> Result<(), TicketError<Self>> {
        self.store.0.completing.notify_one();
        let disk = Arc::clone(&self.store.0.disk);
        let _written = disk.read().await;
        let told = self.told();
        if let Some(kind) = told.complete_refused {
            return Err(TicketError::refused(Error::new(kind, "told to refuse"), self));
        }
        if told.complete_spent {
            return Err(TicketError::spent(spent()));
        }
        self.settle(|expires_at_ms| Some(Content::Payload { expires_at_ms, payload }))
            .map_err(TicketError::spent)
    }

    async fn complete_without_payload(mut self, note: Bytes) -> Result<(), TicketError<Self>> {
        assert!(note.len() <= NOTE_OCTETS_MAX, "a note of {} octets", note.len());
        let disk = Arc::clone(&self.store.0.disk);
        let _written = disk.read().await;
        if self.told().tombstone {
            return Err(TicketError::spent(spent()));
        }
        self.settle(|expires_at_ms| Some(Content::Note { expires_at_ms, note }))
            .map_err(TicketError::spent)
    }

    async fn release(mut self) -> Result<(), TicketError<Self>> {
        if self.told().release {
            return Err(TicketError::spent(spent()));
        }
        self.settle(|_| None).map_err(TicketError::spent)
    }
}

pub(crate) struct Waiting {
    store: Memory,
    id: (Vec<u8>, Vec<u8>),
    print: Fingerprint,
    options: ClaimOptions,
    record: Record,
}

impl BackendWait<Memory> for Waiting {
    fn record(&self) -> &Record {
        &self.record
    }

    async fn until(self, deadline: Instant) -> Result<Claim<Memory>, Error> {
        loop {
            let settled = self.store.0.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            let claim = self.store.try_claim(&self.id, self.print, self.options)?;
            let Claim::InFlight(_) = claim else { return Ok(claim) };
            if tokio::time::timeout_at(deadline.into(), settled).await.is_err() {
                self.store.speaks().await;
                return Ok(claim);
            }
        }
    }
}
