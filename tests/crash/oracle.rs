//! What the promise (P0) says of every key, and nothing of the engine.
//!
//! A key is in one of the states that its history leaves open: the last one that was acknowledged or
//! seen, and each that was begun since. What is seen rules out the others. Time is the simulation's
//! own, in which no record may go before its retention has passed.

use onceward::{Claim, Error, Record, State};

/// What a finished key answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Payload(Vec<u8>),
    Note(Vec<u8>),
}

/// A state a key may be in. `until_ms` is the last moment at which it must still be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    Free,
    Held { ttl_ms: u64 },
    InDoubt { until_ms: u64 },
    Done { content: Content, until_ms: u64 },
}

impl Fact {
    fn in_doubt_until(&self) -> Option<u64> {
        match self {
            Self::InDoubt { until_ms } => Some(*until_ms),
            _ => None,
        }
    }

    fn may_be_gone(&self, now_ms: u64) -> bool {
        match self {
            Self::Free => true,
            Self::Held { .. } => false,
            Self::InDoubt { until_ms } | Self::Done { until_ms, .. } => now_ms > *until_ms,
        }
    }
}

#[derive(Clone, Debug)]
struct Knowledge {
    /// In the order in which they were begun; the first was acknowledged or seen.
    facts: Vec<Fact>,
    /// A claim was begun since, with this retention, and delivered no ticket.
    claimed: Option<u64>,
}

/// What is known of every key.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    keys: Vec<Knowledge>,
    /// The simulation's time, milliseconds since it began.
    pub now_ms: u64,
}

impl Oracle {
    pub(crate) fn new(keys: usize) -> Self {
        Self { keys: vec![Knowledge { facts: vec![Fact::Free], claimed: None }; keys], now_ms: 0 }
    }

    /// A claim of the key was begun.
    pub(crate) fn claim_begun(&mut self, key: usize, ttl_ms: u64) {
        let known = &mut self.keys[key];
        known.claimed = Some(known.claimed.map_or(ttl_ms, |other| other.min(ttl_ms)));
    }

    /// Something was begun that ends in this state.
    pub(crate) fn begun(&mut self, key: usize, fact: Fact) {
        self.keys[key].facts.push(fact);
    }

    /// The key is known to be in this state: it was acknowledged.
    pub(crate) fn is(&mut self, key: usize, fact: Fact, claims_begun: Option<u64>) {
        self.keys[key] = Knowledge { facts: vec![fact], claimed: claims_begun };
    }

    /// Whether a resolution may find the key in doubt.
    pub(crate) fn may_be_in_doubt(&self, key: usize) -> bool {
        let known = &self.keys[key];
        known.facts.iter().any(|fact| matches!(fact, Fact::InDoubt { .. }))
    }

    /// The next moment at which some record must still be there, and need not be there after it.
    pub(crate) fn next_last_moment(&self) -> Option<u64> {
        let facts = self.keys.iter().flat_map(|known| &known.facts);
        let moments = facts.filter_map(|fact| match fact {
            Fact::InDoubt { until_ms } | Fact::Done { until_ms, .. } => Some(*until_ms),
            Fact::Free | Fact::Held { .. } => None,
        });
        moments.filter(|until_ms| *until_ms >= self.now_ms).min()
    }

    /// The processes ended: nobody finishes what was claimed.
    pub(crate) fn restart(&mut self) {
        let now_ms = self.now_ms;
        for known in &mut self.keys {
            let begun = known
                .claimed
                .take()
                .filter(|_| known.facts.iter().any(|fact| fact.may_be_gone(now_ms)));
            for fact in &mut known.facts {
                if let Fact::Held { ttl_ms } = *fact {
                    *fact = Fact::InDoubt { until_ms: now_ms + ttl_ms };
                }
            }
            known.facts.extend(begun.map(|ttl_ms| Fact::InDoubt { until_ms: now_ms + ttl_ms }));
        }
    }

    /// A grant was delivered.
    pub(crate) fn granted(
        &mut self,
        key: usize,
        ttl_ms: u64,
        claims: Option<u64>,
    ) -> Result<(), String> {
        let now_ms = self.now_ms;
        if !self.keys[key].facts.iter().any(|fact| fact.may_be_gone(now_ms)) {
            return Err(self.wrong(key, "granted"));
        }
        self.is(key, Fact::Held { ttl_ms }, claims);
        Ok(())
    }

    /// The key was looked at. What was seen is promised from then on.
    pub(crate) fn seen(
        &mut self,
        key: usize,
        seen: Result<Option<Record>, Error>,
        claims: Option<u64>,
    ) -> Result<(), String> {
        let now_ms = self.now_ms;
        let record = seen.map_err(|error| self.wrong(key, &format!("{error:?}")))?;
        let known = &self.keys[key];
        let Some(record) = record else {
            // A claim that is not on disk yet shows as none at all, and proves nothing.
            let gone = known.facts.iter().any(|fact| fact.may_be_gone(now_ms));
            return if gone { Ok(()) } else { Err(self.wrong(key, "absent")) };
        };
        let matches = |fact: &Fact, content: Option<&Content>| match (fact, content) {
            (Fact::InDoubt { .. }, None) => true,
            (Fact::Done { content, .. }, Some(other)) => content == other,
            _ => false,
        };
        let content =
            match record.state() {
                State::InFlight => {
                    let held = known.facts.iter().any(|fact| matches!(fact, Fact::Held { .. }));
                    let held = held || known.claimed.is_some();
                    return if held { Ok(()) } else { Err(self.wrong(key, "in flight")) };
                }
                State::InDoubt => None,
                State::Complete => Some(content(&record).map_err(|error| {
                    self.wrong(key, &format!("complete, its payload {error:?}"))
                })?),
            };
        let Some(at) = known.facts.iter().position(|fact| matches(fact, content.as_ref())) else {
            return Err(self.wrong(key, &format!("{record:?}")));
        };
        // What was begun later may still come.
        let mut facts = known.facts[at..].to_vec();
        if content.is_none() {
            // A record in doubt does not say which of several beginnings it has.
            let until_ms = facts.iter().filter_map(Fact::in_doubt_until).min().unwrap_or_default();
            facts[0] = Fact::InDoubt { until_ms };
        }
        self.keys[key] = Knowledge { facts, claimed: claims };
        Ok(())
    }

    /// The key of a store just opened was looked at: what was seen is the only truth.
    pub(crate) fn seen_anew(
        &mut self,
        key: usize,
        seen: Result<Option<Record>, Error>,
    ) -> Result<(), String> {
        if matches!(seen, Ok(None)) {
            self.seen(key, seen, None)?;
            self.is(key, Fact::Free, None);
            return Ok(());
        }
        self.seen(key, seen, None)?;
        self.keys[key].facts.truncate(1);
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
        claim: &Claim,
        claims: Option<u64>,
    ) -> Result<(), String> {
        match claim {
            Claim::Replay(record) | Claim::InDoubt(record) => {
                self.seen(key, Ok(Some(record.clone())), claims)
            }
            Claim::InFlight(wait) => self.seen(key, Ok(Some(wait.record().clone())), claims),
            other => Err(self.wrong(key, &format!("{other:?}"))),
        }
    }

    fn wrong(&self, key: usize, what: &str) -> String {
        let Knowledge { facts, claimed } = &self.keys[key];
        let facts: Vec<String> = facts.iter().map(brief).collect();
        format!(
            "key {key} is {what}, at {} ms; possible: {facts:?}, claim begun: {claimed:?}",
            self.now_ms
        )
    }
}

/// What a record answers.
pub(crate) fn content(record: &Record) -> Result<Content, Error> {
    if let Some(note) = record.note() {
        return Ok(Content::Note(note.to_vec()));
    }
    Ok(Content::Payload(record.payload()?.unwrap_or_default().to_vec()))
}

/// A fact, without its payload.
pub(crate) fn brief(fact: &Fact) -> String {
    match fact {
        Fact::Done { content: Content::Payload(payload), until_ms } => {
            let head: Vec<u8> = payload.iter().copied().take(4).collect();
            format!("done with {} bytes {head:?}…, until {until_ms}", payload.len())
        }
        other => format!("{other:?}"),
    }
}
