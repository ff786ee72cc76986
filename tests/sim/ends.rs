//! How the life of a store ends, on a simulated machine, and begins again: by a crash or a close.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use onceward::storage::Storage;
use onceward::{ErrorKind, verify_storage};

use crate::run::{Held, Run};
use crate::script::{End, Op, Way};

impl Run<'_> {
    /// The world ends now, ends again as often as it shall while it comes back, and comes back.
    pub(crate) fn crash(&mut self, end: End, nested: &[(u64, End)]) -> Result<(), String> {
        self.die(end);
        for (after, end) in nested {
            self.disk.crash_at(*after);
            self.open().map_err(|wrong| format!("coming back: {wrong}"))?;
            if let Some(store) = self.store.clone() {
                // Where it was not cut off while opening, it is while it keeps house.
                let _ = store.checkpoint().and_then(|()| store.sweep());
                self.look_aside()?;
            }
            self.tally.cut_off += u64::from(self.disk.is_off());
            self.die(*end);
            self.tally.nested += 1;
        }
        self.open().map_err(|wrong| format!("back: {wrong}"))
    }

    /// The processes end, with the power or without.
    fn die(&mut self, end: End) {
        self.tally.crashes += 1;
        let lossy = end.way != Way::Kill;
        self.tally.losses += u64::from(lossy);
        let disk = end.way.back(&self.disk);
        self.forget(lossy);
        self.disk = disk;
        self.crashed = Some(lossy);
        if !self.aside {
            self.watch();
        }
        self.faults = (Vec::new(), Vec::new());
        self.faulty = false;
        self.sleep(end.reboot, end.asleep_ms);
    }

    fn sleep(&mut self, reboot: bool, asleep_ms: u64) {
        if reboot {
            self.tally.clock += 1;
            self.time.reboot();
            self.known.rebooted();
        }
        if asleep_ms > 0 {
            self.advance(asleep_ms);
        }
    }

    /// Futures, tickets and handles go, and the oracle is told.
    fn forget(&mut self, lossy: bool) {
        self.store = None;
        self.calls.clear();
        self.tickets.clear();
        self.stale.clear();
        self.readers.clear();
        self.known.restart(lossy);
    }

    /// Closes the store, as a process does that ends well. Whether the store ended well, too: a
    /// device that failed, or a disk that is full, may be in the way, and the power may go.
    /// Others make the steps `beside` meanwhile.
    pub(crate) fn close(&mut self, beside: &[(u64, Op)]) -> Result<bool, String> {
        let Some(store) = self.store.clone() else { return Ok(false) };
        let stats = store.stats();
        self.closing = true;
        let closed = self.close_beside(&store, beside)?;
        self.look_aside()?;
        self.notice_faults();
        if self.disk.is_off() {
            self.closing = false;
            return Ok(false);
        }
        let whole = closed.is_ok();
        self.tolerate("close", closed)?;
        self.poll()?;
        self.closing = false;
        if let Some((key, call)) = self.calls.first() {
            return Err(format!("the store is closed, and {} of key {key} waits", call.name()));
        }
        self.store = None;
        drop(store);
        if whole {
            self.known.closed();
        }
        let certain = self.known.certain();
        let stale = std::mem::take(&mut self.tickets);
        self.forget(false);
        self.stale = stale;
        let faults = self.faulty || !self.faults.0.is_empty() || !self.faults.1.is_empty();
        if whole && !faults && !self.bounded && !self.known.damaged && !stats.poisoned {
            self.verify(certain)?;
        }
        Ok(whole)
    }

    /// What `verify` says of a store that was closed agrees, and changes nothing.
    fn verify(&mut self, certain: u64) -> Result<(), String> {
        let fork = Arc::new(self.disk.fork());
        let operations = fork.operations();
        let storage: Arc<dyn Storage> = fork.clone();
        let report = verify_storage(&storage).map_err(|error| format!("verify: {error:?}"))?;
        let agrees = report.is_sound()
            && report.sealed
            && report.complete + report.in_doubt + report.unfinished >= certain
            && fork.operations() == operations;
        if !agrees {
            return Err(format!("{certain} records at least, and verify says {report:?}"));
        }
        self.tally.verified += 1;
        Ok(())
    }

    pub(crate) fn reopen(
        &mut self,
        reboot: bool,
        asleep_ms: u64,
        beside: &[(u64, Op)],
    ) -> Result<(), String> {
        self.close(beside)?;
        if self.disk.is_off() {
            return Ok(());
        }
        self.sleep(reboot, asleep_ms);
        self.open()?;
        self.refuses_stale_tickets()
    }

    /// Tickets of the store that was closed are worth nothing with the one that is open: none is
    /// told that it has finished anything.
    fn refuses_stale_tickets(&mut self) -> Result<(), String> {
        let mut context = Context::from_waker(Waker::noop());
        for Held { key, ticket, .. } in std::mem::take(&mut self.stale) {
            let mut future = std::pin::pin!(ticket.complete([7; 10].to_vec()));
            match future.as_mut().poll(&mut context) {
                // Closed; or poisoned, where a device had failed before.
                Poll::Ready(Err(error))
                    if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Poisoned) => {}
                other => return Err(format!("a stale ticket of key {key} comes to {other:?}")),
            }
        }
        self.look_anew()
    }
}
