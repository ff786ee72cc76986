//! What the simulator found, each as the smallest script that showed it.

use onceward::storage::Fault;

use crate::run::run;
use crate::script::Op::{
    Advance, Capacity, Checkpoint, Claim, Crash, Fail, Finish, Keep, Look, Reopen, Resolve, Rot,
    Settle, Step, Sweep,
};
use crate::script::Patience::{Long, No, Past};
use crate::script::Way::{Kill, Loss, Torn, Total};
use crate::script::{End, How, Op, Script};
use crate::world::{LONG_SEGMENT, SEGMENT};

fn holds(script: &Script) {
    if let Err(wrong) = run(script) {
        panic!("{wrong}\n{script}");
    }
}

const fn end(way: crate::script::Way) -> End {
    End { way, reboot: true, asleep_ms: 0 }
}

/// Buffered: two groups of a new segment are written and not synced, the power goes, and the disk
/// has the second and not the first. What nobody promised is gone, and the store is not damaged:
/// for a whole retention it would refuse every key it does not know (P0.1 is kept either way).
#[test]
fn p0_1_a_later_group_that_outlived_the_first_of_its_segment_is_a_tear() {
    let nested = vec![
        (35, End { reboot: false, ..end(Kill) }),
        (24, end(Torn(2_612_775_936_231_074_642, 8))),
        (31, end(Loss(5_650_267_966_724_035_871))),
    ];
    holds(&Script {
        seed: 1_004_313,
        keys: 8,
        buffered: true,
        max_disk: None,
        resident: None,
        segment: SEGMENT,
        aside_one_in: 0,
        ops: vec![
            Claim { key: 1, print: 0, ttl_ms: 10_000, patience: Long },
            Claim { key: 5, print: 0, ttl_ms: 10_000, patience: Past },
            Claim { key: 6, print: 0, ttl_ms: 10_000, patience: Long },
            Settle,
            Finish { nth: 14, how: How::Complete(27_449) },
            Finish { nth: 9, how: How::Complete(17_279) },
            Crash { after: 4, end: end(Loss(4_968_738_366_850_670_910)), nested },
            Finish { nth: 4, how: How::Complete(24_187) },
            Step,
            Claim { key: 3, print: 0, ttl_ms: 10_000, patience: No },
            Step,
        ],
    });
}

/// A store whose making was cut off is opened again on a disk that has filled up since: that is
/// `Full`, which heals, and not a fault of the device.
#[test]
fn c36_a_full_disk_is_told_as_such_while_a_store_is_being_made() {
    let awake = |way| End { reboot: false, ..end(way) };
    let nested = vec![
        (44, End { asleep_ms: 3_000, ..awake(Total) }),
        (10, End { asleep_ms: 1, ..awake(Torn(17_023_780_948_478_424_766, 8)) }),
        (35, end(Total)),
    ];
    holds(&Script {
        seed: 777_533,
        keys: 8,
        buffered: false,
        max_disk: None,
        resident: None,
        segment: SEGMENT,
        aside_one_in: 0,
        ops: vec![
            Claim { key: 0, print: 0, ttl_ms: 10_000, patience: No },
            Crash { after: 0, end: end(Total), nested: Vec::new() },
            Reopen { reboot: false, asleep_ms: 0, beside: Vec::new() },
            Capacity { slack: Some(13_210) },
            Crash { after: 20, end: end(Torn(16_093_430_195_510_936_334, 1)), nested },
        ],
    });
}

/// A record that the tree alone knows stands in a segment about to go, and a bit of its frame has
/// turned: it is not met among those that are written again, and the segment must stay (P0.1).
#[test]
fn p0_1_a_segment_with_a_damaged_cold_record_stays() {
    holds(&Script {
        seed: 118_432_283_059_447,
        keys: 8,
        buffered: false,
        max_disk: None,
        resident: Some(0),
        segment: SEGMENT,
        aside_one_in: 16,
        ops: vec![
            Claim { key: 6, print: 0, ttl_ms: 2500, patience: Past },
            Claim { key: 4, print: 0, ttl_ms: 2500, patience: Past },
            Claim { key: 2, print: 0, ttl_ms: 10_000, patience: Long },
            Reopen { reboot: true, asleep_ms: 0, beside: Vec::new() },
            Claim { key: 5, print: 0, ttl_ms: 10_000, patience: Past },
            Advance { ms: 10_001 },
            Settle,
            Finish { nth: 7, how: How::Complete(1000) },
            Look,
            Advance { ms: 3000 },
            Rot { seed: 17_829_334_599_019_011_575, bits: 1, live: false },
            Keep { round: 1 },
            Sweep,
        ],
    });
}

/// The simulator's own mistake: bits turned over in the last group of a store that was open, and the
/// power went before it was closed. That may pass for a tear, which is not promised against, and what
/// comes back from it is not judged: armed or on the side, or when a device fails as the store is
/// closed.
#[test]
fn bits_that_turned_in_a_store_that_was_never_closed_well_are_not_judged() {
    // Of the last group, and of no other: a result that is lost leaves a doubt, which damage may.
    let claim = |key| Claim { key, print: 0, ttl_ms: 10_000, patience: No };
    let claims = [claim(0), claim(1), claim(2), claim(3), Settle];
    for seed in 0..16 {
        let ended = Crash { after: seed % 8, end: end(Total), nested: Vec::new() };
        let failed = Fail { after: seed % 8, fault: Fault::Io };
        let script = |before: &[Op], aside_one_in| Script {
            seed,
            keys: 8,
            buffered: false,
            max_disk: None,
            resident: None,
            segment: SEGMENT,
            aside_one_in,
            ops: [&claims, before, &[Rot { seed, bits: 1, live: true }]].concat(),
        };
        holds(&script(&[ended], 0));
        holds(&script(&[], 1));
        holds(&script(std::slice::from_ref(&failed), 0));
        // And closed, with a close that failed.
        let mut closed = script(&[failed], 0);
        closed.ops.pop();
        closed.ops.push(Rot { seed, bits: 1, live: false });
        holds(&closed);
    }
}

/// A result went into a segment begun for it, which had nothing on disk yet when a checkpoint named all
/// segments there were; then the power went. What was never there was taken for lost.
#[test]
fn p0_2_a_checkpoint_names_no_segment_that_may_not_be_there() {
    holds(&Script {
        seed: 113_172_240_106_829,
        keys: 8,
        buffered: false,
        max_disk: None,
        resident: Some(0),
        segment: LONG_SEGMENT,
        aside_one_in: 0,
        ops: vec![
            Claim { key: 7, print: 0, ttl_ms: 10_000, patience: Long },
            Settle,
            Finish { nth: 9, how: How::Complete(66_000) },
            Claim { key: 3, print: 0, ttl_ms: 2500, patience: Long },
            Claim { key: 6, print: 0, ttl_ms: 10_000, patience: No },
            Settle,
            Claim { key: 5, print: 0, ttl_ms: 10_000, patience: Long },
            Finish { nth: 12, how: How::Complete(66_000) },
            Finish { nth: 13, how: How::Complete(130_519) },
            Checkpoint,
            Settle,
            Finish { nth: 11, how: How::Complete(66_000) },
            Crash {
                after: 13,
                end: End { way: Torn(4_782_137_552_133_456_618, 1), reboot: true, asleep_ms: 0 },
                nested: Vec::new(),
            },
            Keep { round: 4 },
        ],
    });
}

/// A key in doubt is released and claimed again for less time than the doubt would have lasted; when
/// that result has expired and was swept, the doubt does not come back.
#[test]
fn p0_4_a_doubt_that_was_released_does_not_outlive_what_came_after_it() {
    let at_once = |way| End { reboot: true, ..end(way) };
    holds(&Script {
        seed: 74_269_142_716_687,
        keys: 8,
        buffered: true,
        max_disk: None,
        resident: None,
        segment: SEGMENT,
        aside_one_in: 12,
        ops: vec![
            Claim { key: 2, print: 0, ttl_ms: 30_000, patience: Long },
            Claim { key: 7, print: 0, ttl_ms: 30_000, patience: No },
            Reopen { reboot: true, asleep_ms: 0, beside: vec![] },
            Claim { key: 0, print: 0, ttl_ms: 10_000, patience: Past },
            Step,
            Finish { nth: 5, how: How::Complete(17_232) },
            Resolve { key: 7, how: How::Complete(23_839) },
            Settle,
            Keep { round: 40 },
            Crash { after: 8, end: at_once(Torn(15_642_885_714_882_477_520, 8)), nested: vec![] },
            Resolve { key: 2, how: How::Release },
            Claim { key: 2, print: 0, ttl_ms: 2_500, patience: Long },
            Settle,
            Finish { nth: 14, how: How::Complete(0) },
            Claim { key: 3, print: 0, ttl_ms: 10_000, patience: No },
            Settle,
            Finish { nth: 2, how: How::Complete(29_844) },
            Claim { key: 1, print: 0, ttl_ms: 10_000, patience: No },
            Settle,
            Finish { nth: 3, how: How::Complete(10_000) },
            Settle,
            Advance { ms: 10_001 },
            Sweep,
            Crash { after: 0, end: at_once(Loss(7_203_526_539_708_267_841)), nested: vec![] },
        ],
    });
}
