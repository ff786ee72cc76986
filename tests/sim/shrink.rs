//! Cuts a failing script down to a small one that still fails.

use crate::run::run;
use crate::script::{How, Op, Script};
use crate::world::SEGMENT;

/// Runs a shrinking may take: a script is small long before.
const RUNS_MAX: u32 = 3_000;

/// A smaller script that fails, and how. Any failure will do: where one hides behind another, the
/// one that shows with fewer steps is looked at first.
pub(crate) fn shrink(script: &Script, wrong: String) -> (Script, String) {
    let mut best = (script.clone(), wrong);
    let mut runs = 0;
    let mut fails = |candidate: Script, best: &mut (Script, String)| {
        runs += 1;
        if runs > RUNS_MAX {
            return false;
        }
        match run(&candidate) {
            Ok(_) => false,
            Err(wrong) => {
                *best = (candidate, wrong);
                true
            }
        }
    };
    loop {
        let before = best.0.clone();
        let mut piece = best.0.ops.len().max(2) / 2;
        while piece > 0 {
            let mut at = 0;
            while at < best.0.ops.len() {
                let mut candidate = best.0.clone();
                let end = (at + piece).min(candidate.ops.len());
                candidate.ops.drain(at..end);
                if !fails(candidate, &mut best) {
                    at += piece;
                }
            }
            piece /= 2;
        }
        for at in 0..best.0.ops.len() {
            for simpler in simpler(&best.0.ops[at]) {
                let mut candidate = best.0.clone();
                candidate.ops[at] = simpler;
                fails(candidate, &mut best);
            }
        }
        for candidate in [
            Script { buffered: false, ..best.0.clone() },
            Script { max_disk: None, ..best.0.clone() },
            Script { resident: None, ..best.0.clone() },
            Script { segment: SEGMENT, ..best.0.clone() },
        ] {
            if candidate != best.0 {
                fails(candidate, &mut best);
            }
        }
        if best.0 == before {
            return best;
        }
    }
}

/// The same step with less in it, the least first.
fn simpler(op: &Op) -> Vec<Op> {
    match op.clone() {
        Op::Crash { after, end, nested } => {
            let awake = crate::script::End { asleep_ms: 0, ..end };
            let mut ops = vec![Op::Crash { after, end, nested: Vec::new() }];
            ops.extend((0..nested.len()).map(|gone| {
                let mut fewer = nested.clone();
                fewer.remove(gone);
                Op::Crash { after, end, nested: fewer }
            }));
            ops.push(Op::Crash { after: 0, end, nested: nested.clone() });
            ops.push(Op::Crash { after, end: awake, nested });
            ops
        }
        Op::Reopen { reboot, asleep_ms, beside } => (0..beside.len())
            .map(|gone| {
                let mut fewer = beside.clone();
                let (after, _) = fewer.remove(gone);
                if let Some((next, _)) = fewer.get_mut(gone) {
                    *next += after;
                }
                Op::Reopen { reboot, asleep_ms, beside: fewer }
            })
            .collect(),
        Op::Finish { nth, how: How::Complete(len) } => {
            let shorter = |len| Op::Finish { nth, how: How::Complete(len) };
            [0, 1, 100, 1_000, 10_000, 66_000]
                .into_iter()
                .filter(|l| *l < len)
                .map(shorter)
                .collect()
        }
        Op::Claim { key, print, ttl_ms, patience } if print > 0 => {
            vec![Op::Claim { key, print: 0, ttl_ms, patience }]
        }
        _ => Vec::new(),
    }
}
