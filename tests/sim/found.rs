//! What the simulator found, each as the smallest script that showed it.

use onceward::storage::Fault;

use crate::run::run;
use crate::script::{End, How, Op::*, Patience::*, Script, Way::*};

fn holds(script: &Script) {
    if let Err(wrong) = run(script) {
        panic!("{wrong}\n{script}");
    }
}

#[test]
fn buffered_suspect() {
    holds(&Script {
        seed: 1004313,
        keys: 8,
        buffered: true,
        max_disk: None,
        ops: vec![
            Claim { key: 1, print: 0, ttl_ms: 10000, patience: Long },
            Claim { key: 5, print: 0, ttl_ms: 10000, patience: Past },
            Claim { key: 6, print: 0, ttl_ms: 10000, patience: Long },
            Settle,
            Finish { nth: 14, how: How::Complete(27449) },
            Finish { nth: 9, how: How::Complete(17279) },
            Crash {
                after: 4,
                end: End { way: Loss(4968738366850670910), reboot: true, asleep_ms: 0 },
                nested: vec![
                    (35, End { way: Kill, reboot: false, asleep_ms: 0 }),
                    (24, End { way: Torn(2612775936231074642, 8), reboot: true, asleep_ms: 0 }),
                    (31, End { way: Loss(5650267966724035871), reboot: true, asleep_ms: 0 }),
                ],
            },
            Finish { nth: 4, how: How::Complete(24187) },
            Step,
            Claim { key: 3, print: 0, ttl_ms: 10000, patience: No },
            Step,
        ],
    });
}
