//! What is known of every key: what was begun, what was acknowledged, what was seen, and what an end
//! of the world leaves of it. Whether something may be is judged by the promise alone, in
//! `oracle.rs`.
//!
//! A key is in one of the states that its history leaves open: the last one that was acknowledged or
//! seen, and each that was begun since. What is seen rules out the others. Time is the simulation's
//! own. A record may not go before `until_ms` has passed, and may not be seen after `latest_ms`: the
//! two differ where the store may have lost time, across a reboot, or was not yet seen to have
//! decided.

use std::fmt;

use onceward::{Claim, Error, Fingerprint, Record, State};

use crate::fact::{Fact, Is, content};
use crate::oracle::{Seen, Told, is_told_right, judge, may_be_gone};
use crate::world::TTL_MS;

#[derive(Clone, Debug, Default)]
struct Knowledge {
    /// In the order in which they were begun; the first was acknowledged or seen.
    facts: Vec<Fact>,
    /// What was so since the last sync, under `Buffered`: a power loss may go back to it.
    before: Vec<Fact>,
    /// Claims begun since that delivered no ticket: retention and fingerprint.
    claimed: Vec<(u64, u8)>,
}

/// What is known of every key.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    keys: Vec<Knowledge>,
    prints: [Fingerprint; 2],
    buffered: bool,
    /// Bytes were turned over: what is there may be refused, and nothing else.
    pub(crate) damaged: bool,
    /// The simulation's time, milliseconds since it began.
    pub(crate) now_ms: u64,
    /// When the store's own time was last known to be on the disk.
    told_ms: u64,
    rebooted: bool,
    /// The longest retention a claim has asked for, and the store's own.
    longest_ms: u64,
}

/// A claim that has not come back: its retention and which fingerprint it bears.
pub(crate) type Begun = (u64, usize);

impl Known {
    pub(crate) fn new(keys: usize, prints: [Fingerprint; 2], buffered: bool) -> Self {
        let free = Knowledge { facts: vec![Fact::FREE], ..Knowledge::default() };
        let (now_ms, told_ms) = (0, 0);
        let keys = vec![free; keys];
        let (damaged, rebooted, longest_ms) = (false, false, TTL_MS);
        Self { keys, prints, buffered, damaged, now_ms, told_ms, rebooted, longest_ms }
    }

    pub(crate) fn claim_begun(&mut self, key: usize, (ttl_ms, print): Begun) {
        self.keys[key].claimed.push((ttl_ms, 1 << print));
        self.longest_ms = self.longest_ms.max(ttl_ms);
    }

    /// The same of a resolution that says what was done. It lives for its claim's own retention from
    /// now on, or the store's, if that is longer; and no longer than the longest there was.
    pub(crate) fn resolution_begun(&mut self, key: usize, is: Is) -> Fact {
        let doubts = self.keys[key].facts.iter().filter(|fact| fact.is == Is::InDoubt);
        let own_ms = doubts.map(|fact| fact.ttl_ms).min().unwrap_or(0).max(TTL_MS);
        let begun = self.begun(key, is, own_ms);
        let fact = Fact { ttl_ms: self.longest_ms, ..begun };
        if let Some(last) = self.keys[key].facts.last_mut() {
            last.clone_from(&fact);
        }
        fact
    }

    /// Something was begun that ends in this state, of a claim that bears what the key has.
    pub(crate) fn begun(&mut self, key: usize, is: Is, ttl_ms: u64) -> Fact {
        let mut prints = self.keys[key].facts.iter().fold(0, |all, fact| all | fact.prints);
        if self.damaged && prints == 0 {
            // It ends a doubt whose beginning is not known here, nor whose claim that was.
            prints = (1 << self.prints.len()) - 1;
        }
        let until_ms = self.now_ms + ttl_ms;
        // A completion may wait for room, and is dated when it has it.
        let latest_ms = if let Is::Done(_) = is { u64::MAX } else { until_ms };
        let fact = Fact { is, ttl_ms, until_ms, latest_ms, prints };
        self.keys[key].facts.push(fact.clone());
        fact
    }

    /// The key is known to be in this state: it was acknowledged.
    pub(crate) fn is(&mut self, key: usize, mut fact: Fact, claims: &[Begun]) {
        fact.settle(self.now_ms);
        if let Is::Done(_) = fact.is {
            // A resolution lives as long as the doubt, at the least.
            let doubts = self.keys[key].facts.iter().filter(|fact| fact.is == Is::InDoubt);
            let doubt_ms = doubts.map(|fact| fact.latest_ms).max().unwrap_or(0);
            fact.latest_ms = fact.latest_ms.max(doubt_ms);
        }
        if !self.buffered {
            self.told_ms = self.now_ms;
        }
        self.becomes(key, vec![fact], claims);
    }

    fn becomes(&mut self, key: usize, facts: Vec<Fact>, claims: &[Begun]) {
        let claimed = claims.iter().map(|(ttl_ms, print)| (*ttl_ms, 1 << print)).collect();
        let known = &mut self.keys[key];
        let old = std::mem::replace(known, Knowledge { facts, before: Vec::new(), claimed });
        if self.buffered {
            known.before = old.before;
            known.before.extend(old.facts);
            known.before.extend(old.claimed.iter().map(|claim| Fact::held(*claim)));
        }
    }

    /// Everything acknowledged so far is on the disk. What time it is need not be: that is written
    /// with what is acknowledged, as a store is closed, and as it is opened.
    pub(crate) fn synced(&mut self) {
        self.keys.iter_mut().for_each(|known| known.before.clear());
    }

    /// Whether a resolution may find the key in doubt.
    pub(crate) fn may_be_in_doubt(&self, key: usize) -> bool {
        self.damaged || self.keys[key].facts.iter().any(|fact| fact.is == Is::InDoubt)
    }

    /// Keys that have a record for certain.
    pub(crate) fn certain(&self) -> u64 {
        let certain = |known: &&Knowledge| known.facts.iter().all(|f| !may_be_gone(f, self.now_ms));
        self.keys.iter().filter(certain).count() as u64
    }

    /// The next moment at which some record must still be there, and need not be there after it.
    pub(crate) fn next_last_moment(&self) -> Option<u64> {
        let facts = self.keys.iter().flat_map(|known| &known.facts);
        let records = facts.filter(|fact| fact.expires());
        records.map(|fact| fact.until_ms).filter(|until_ms| *until_ms >= self.now_ms).min()
    }

    /// The moment after which nothing can be there any more.
    pub(crate) fn end_of_all(&self) -> u64 {
        let facts = self.keys.iter().flat_map(|known| &known.facts);
        let records = facts.filter(|fact| fact.expires());
        records.map(|fact| fact.latest_ms).max().unwrap_or(0).max(self.now_ms)
    }

    /// The processes ended: nobody finishes what was claimed. `lossy`: with the power.
    pub(crate) fn restart(&mut self, lossy: bool) {
        for known in &mut self.keys {
            if known.facts.iter().any(|fact| may_be_gone(fact, self.now_ms)) {
                known.facts.extend(known.claimed.iter().map(|claim| Fact::held(*claim)));
            }
            known.claimed.clear();
            for fact in known.before.iter_mut().chain(&mut known.facts) {
                if fact.is == Is::Held {
                    (fact.is, fact.until_ms) = (Is::InDoubt, self.now_ms + fact.ttl_ms);
                } else if fact.is != Is::InDoubt {
                    fact.settle(self.now_ms);
                }
            }
            if lossy {
                known.before.append(&mut known.facts);
                std::mem::swap(&mut known.before, &mut known.facts);
            }
        }
    }

    /// The store was closed, and wrote when.
    pub(crate) fn closed(&mut self) {
        self.told_ms = self.now_ms;
        self.synced();
    }

    pub(crate) fn rebooted(&mut self) {
        self.rebooted = true;
    }

    /// The store is open again. Across a reboot it may have lost all the time since it was last
    /// known to have told the disk; a doubt began now, at the latest.
    pub(crate) fn opened(&mut self) {
        let lost_ms = if self.rebooted { self.now_ms - self.told_ms } else { 0 };
        for fact in self.keys.iter_mut().flat_map(|known| &mut known.facts) {
            fact.settle(self.now_ms);
            fact.latest_ms = fact.latest_ms.saturating_add(lost_ms);
        }
        self.rebooted = false;
        self.told_ms = self.now_ms;
        self.synced();
    }

    /// A grant was delivered.
    pub(crate) fn granted(
        &mut self,
        key: usize,
        (ttl_ms, print): Begun,
        claims: &[Begun],
    ) -> Result<(), String> {
        self.judge(key, &Seen::Granted, &"to a claim")?;
        self.is(key, Fact::held((ttl_ms, 1 << print)), claims);
        Ok(())
    }

    /// The key was looked at. What was seen is promised from then on.
    pub(crate) fn seen(
        &mut self,
        key: usize,
        seen: &Result<Option<Record>, Error>,
        claims: &[Begun],
    ) -> Result<(), String> {
        let told = match seen {
            Ok(None) => Seen::Absent,
            Err(error) => Seen::Refused(error.kind()),
            Ok(Some(record)) => {
                let print = self.prints.iter().position(|print| *print == record.fingerprint());
                let Some(print) = print else {
                    return Err(self.wrong(key, "of a fingerprint nobody has"));
                };
                let is = match record.state() {
                    State::InFlight => Ok(Is::Held),
                    State::InDoubt => Ok(Is::InDoubt),
                    State::Complete => content(record).map(Is::Done),
                };
                is.map_or_else(
                    |error| Seen::Refused(error.kind()),
                    |is| Seen::Record(is, 1 << print),
                )
            }
        };
        let Some(at) = self.judge(key, &told, seen)? else { return Ok(()) };
        // What was begun later may still come.
        let mut facts = self.keys[key].facts[at..].to_vec();
        if let Seen::Record(_, print) = told {
            facts[0].prints &= print;
        }
        facts[0].settle(self.now_ms);
        if facts[0].is == Is::InDoubt {
            // It does not say which of several beginnings it has.
            let doubts: Vec<_> = facts.iter().filter(|fact| fact.is == Is::InDoubt).collect();
            let until_ms = doubts.iter().map(|fact| fact.until_ms).min().unwrap_or(0);
            let latest_ms = doubts.iter().map(|fact| fact.latest_ms).max().unwrap_or(0);
            let ttl_ms = doubts.iter().map(|fact| fact.ttl_ms).min().unwrap_or(0);
            (facts[0].until_ms, facts[0].latest_ms) = (until_ms, latest_ms);
            facts[0].ttl_ms = ttl_ms;
        }
        self.becomes(key, facts, claims);
        Ok(())
    }

    /// The key of a store just opened was looked at: what was seen is the only truth.
    pub(crate) fn seen_anew(
        &mut self,
        key: usize,
        seen: &Result<Option<Record>, Error>,
    ) -> Result<(), String> {
        let absent = matches!(seen, Ok(None));
        self.seen(key, seen, &[])?;
        if absent {
            self.becomes(key, vec![Fact::FREE], &[]);
        } else if !self.damaged {
            self.keys[key].facts.truncate(1);
        }
        self.keys[key].before.clear();
        Ok(())
    }

    /// What was begun was refused: it will not come.
    pub(crate) fn withdraw(&mut self, key: usize, fact: &Fact) {
        let facts = &mut self.keys[key].facts;
        if let Some(at) = facts.iter().rposition(|other| other == fact).filter(|at| *at > 0) {
            facts.remove(at);
        }
    }

    /// A claim was answered without a grant.
    pub(crate) fn answered(
        &mut self,
        key: usize,
        print: usize,
        claim: &Claim,
        claims: &[Begun],
    ) -> Result<(), String> {
        let (record, told) = match claim {
            Claim::Replay(record) => (record, Told::Replay),
            Claim::InDoubt(record) => (record, Told::InDoubt),
            Claim::InFlight(wait) => (wait.record(), Told::InFlight),
            Claim::Mismatch(record) => (record, Told::Mismatch),
            other @ Claim::Granted(_) => return Err(self.wrong(key, &format!("{other:?}"))),
        };
        let same_print = record.fingerprint() == self.prints[print];
        if !is_told_right(told, record.state(), same_print) {
            return Err(self.wrong(key, &format!("claimed with print {print}, which is {claim:?}")));
        }
        let record = record.clone();
        self.seen(key, &Ok(Some(record)), claims)
    }

    /// Judges what was seen of a key, by what there was to see.
    fn judge(&self, key: usize, seen: &Seen, by: &dyn fmt::Debug) -> Result<Option<usize>, String> {
        let Knowledge { facts, claimed, .. } = &self.keys[key];
        let claims = claimed.iter().fold(0, |prints, (_, print)| prints | print);
        judge((facts, claims), seen, self.now_ms, self.damaged)
            .map_err(|wrong| self.wrong(key, &format!("{wrong}: {by:?}")))
    }

    fn wrong(&self, key: usize, what: &str) -> String {
        let Knowledge { facts, before, claimed } = &self.keys[key];
        let facts: Vec<String> = before.iter().chain(facts).map(Fact::brief).collect();
        let now_ms = self.now_ms;
        format!(
            "key {key} is {what}, at {now_ms} ms; possible: {facts:?}, claims begun: {claimed:?}"
        )
    }
}
