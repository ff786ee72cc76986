//! What a document promises of an answer, and whether the answer keeps it.

/// Where an answer came from, as far as its reader can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The work was done for it.
    Work,
    /// It is the answer to an earlier request.
    Replay,
    /// It is a refusal.
    Refusal,
}

/// What was seen of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) origin: Origin,
    /// Whether it says itself that it is a replay.
    pub(crate) marked: bool,
    /// Executions since the chapter began.
    pub(crate) executions: u64,
}

/// What an answer must be.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    status: u16,
    origin: Origin,
    executions: u64,
    others: Vec<(&'static str, bool)>,
    remark: String,
}

impl Promise {
    fn new(status: u16, origin: Origin, executions: u64) -> Self {
        Self { status, origin, executions, others: Vec::new(), remark: String::new() }
    }

    /// Work is done, and `executions` is how often by then.
    pub(crate) fn work(status: u16, executions: u64) -> Self {
        Self::new(status, Origin::Work, executions)
    }

    /// An earlier answer is given again.
    pub(crate) fn replay(status: u16, executions: u64) -> Self {
        Self::new(status, Origin::Replay, executions)
    }

    /// The request is refused.
    pub(crate) fn refusal(status: u16, executions: u64) -> Self {
        Self::new(status, Origin::Refusal, executions)
    }

    /// And `what` holds, which it does if `holds`.
    pub(crate) fn and(mut self, what: &'static str, holds: bool) -> Self {
        self.others.push((what, holds));
        self
    }

    /// With a line for the reader.
    pub(crate) fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = remark.into();
        self
    }

    /// The line for the reader; empty for none.
    pub(crate) fn remark_shown(&self) -> &str {
        &self.remark
    }

    /// What of this `seen` does not keep, in words; nothing when all is kept. `marks` is whether
    /// the document has a marker for replays.
    pub(crate) fn broken_by(&self, seen: &Seen, marks: bool) -> Vec<String> {
        let mut broken = Vec::new();
        if seen.status != self.status {
            broken.push(format!("the status should be {}", self.status));
        }
        if seen.origin != self.origin {
            broken.push(
                match self.origin {
                    Origin::Work => "it should be the answer of an execution of its own",
                    Origin::Replay => "it should be the first request's answer",
                    Origin::Refusal => "it should be a refusal",
                }
                .to_owned(),
            );
        }
        if seen.executions != self.executions {
            broken.push(format!("executions so far should be {}", self.executions));
        }
        if seen.marked != (marks && self.origin == Origin::Replay) {
            let should = if seen.marked { "should not" } else { "should" };
            broken.push(format!("it {should} bear the mark of a replay"));
        }
        let others = self.others.iter().filter(|(_, holds)| !holds);
        broken.extend(others.map(|(what, _)| format!("it does not hold that {what}")));
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLAY: Seen = Seen { status: 201, origin: Origin::Replay, marked: true, executions: 1 };

    #[test]
    fn what_keeps_a_promise_breaks_nothing() {
        let promise = Promise::replay(201, 1).and("it is the same", true);
        assert_eq!(promise.broken_by(&REPLAY, true), [""; 0]);
        let unmarked = Seen { marked: false, ..REPLAY };
        assert_eq!(promise.broken_by(&unmarked, false), [""; 0]);
    }

    #[test]
    fn each_way_to_break_a_promise_is_seen() {
        let promise = Promise::replay(201, 1);
        for (seen, why) in [
            (Seen { status: 200, ..REPLAY }, "the status should be 201"),
            (Seen { origin: Origin::Work, ..REPLAY }, "it should be the first request's answer"),
            (Seen { executions: 2, ..REPLAY }, "executions so far should be 1"),
            (Seen { marked: false, ..REPLAY }, "it should bear the mark of a replay"),
        ] {
            assert_eq!(promise.broken_by(&seen, true), [why], "{seen:?}");
        }
        assert_eq!(promise.broken_by(&REPLAY, false), ["it should not bear the mark of a replay"]);
        let other = promise.and("it is the same", false);
        assert_eq!(other.broken_by(&REPLAY, true), ["it does not hold that it is the same"]);
    }

    #[test]
    fn work_and_refusals_bear_no_mark() {
        let work = Seen { origin: Origin::Work, ..REPLAY };
        let why = ["it should not bear the mark of a replay"];
        assert_eq!(Promise::work(201, 1).broken_by(&work, true), why);
        let refusal = Seen { origin: Origin::Refusal, ..REPLAY };
        assert_eq!(Promise::refusal(201, 1).broken_by(&refusal, true), why);
    }
}
