//! The harness on trial: bugs are planted in the engine, one at a time, and each must be caught. A
//! harness that misses one is too weak.

use onceward::{Bug, plant};
use parking_lot::Mutex;

use crate::draw::Lean;
use crate::run::{run, run_and_tell};
use crate::script::Script;
use crate::shrink::shrink;
use crate::{ASIDE_ONE_IN, SCRIPTS, base_seed, variable};

/// How far apart the seeds are that one bug is tried from.
const SEEDS_APART: u64 = 1_000_003;

/// Pulls out what is planted, however a test ends.
struct Planted;

impl Planted {
    fn new(bug: Bug) -> Self {
        plant(Some(bug));
        Self
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        plant(None);
    }
}

/// What scripts lean to in which the bug is to show, where it takes that: most show in those of the
/// search.
fn lean(bug: Bug) -> Option<Lean> {
    match bug {
        Bug::PayloadNotCompared | Bug::DamageForgotten => Some(Lean::Rot),
        Bug::PublishedBeforeSync | Bug::WentOnAfterEio => Some(Lean::Failing),
        _ => None,
    }
}

/// The scripts a bug is looked for in: those of the search, from the same seeds, as many and with
/// their worlds on the side; or scripts that all lean to what it breaks.
fn drawn(bug: Bug, seed: u64) -> Script {
    match bug {
        Bug::ReusedUnderReader => Script::draw_steady(seed),
        Bug::ReusedBeforeDirectorySync => Script::draw_steady(seed).with_asides(4),
        _ => lean(bug).map_or_else(
            || Script::draw(seed).with_asides(ASIDE_ONE_IN),
            |lean| Script::draw_leaning(seed, Some(lean)),
        ),
    }
}

/// The first script that shows the bug, after how many that do not, and what it shows.
fn caught(bug: Bug, base: u64) -> Option<(u64, Script, String)> {
    let _planted = Planted::new(bug);
    let max = variable("PLANTED_SCRIPTS").unwrap_or(SCRIPTS);
    (0..max).find_map(|nth| {
        let script = drawn(bug, base.wrapping_add(nth));
        run(&script).err().map(|wrong| (nth, script, wrong))
    })
}

/// What each trial took so far: the bug, its median of scripts, and the most.
static TRIALS: Mutex<Vec<(Bug, u64, u64)>> = Mutex::new(Vec::new());

/// Tries the bug from each of `PLANTED_SEEDS` seeds.
fn is_caught(bug: Bug) {
    let base = base_seed();
    let seeds = variable("PLANTED_SEEDS").unwrap_or(1);
    let scripts = (0..seeds).map(|nth| {
        let seed = base.wrapping_add(nth * SEEDS_APART);
        let Some((before, script, wrong)) = caught(bug, seed) else {
            panic!(
                "{bug:?} was planted, and nothing showed it from {seed}: the harness is too weak"
            );
        };
        println!("{bug:?}: caught after {before} scripts: {wrong}");
        assert!(run(&script).is_ok(), "SEED={}: without the bug nothing is wrong", script.seed);
        before + 1
    });
    let mut scripts: Vec<u64> = scripts.collect();
    scripts.sort_unstable();
    let mut trials = TRIALS.lock();
    trials.push((bug, scripts[scripts.len() / 2], scripts[scripts.len() - 1]));
    trials.sort_unstable_by_key(|(_, _, most)| std::cmp::Reverse(*most));
    let each: Vec<String> =
        trials.iter().map(|(bug, median, most)| format!("{bug:?} {median} and {most}")).collect();
    println!(
        "figures: {} planted bugs from {seeds} seeds each, none missed; scripts, median and most: {}",
        trials.len(),
        each.join(", ")
    );
}

macro_rules! trials {
    ($($name:ident: $bug:ident,)+) => {
        $(#[test]
        fn $name() {
            is_caught(Bug::$bug);
        })+

        /// Every bug that can be planted has its trial.
        #[test]
        fn every_bug_has_its_trial() {
            let tried = [$(Bug::$bug),+];
            for bug in Bug::ALL {
                assert!(tried.contains(bug), "{bug:?} has no trial");
            }
        }
    };
}

trials! {
    p0_2_a_group_acknowledged_before_its_sync_is_caught: AcknowledgedBeforeSync,
    p0_2_a_group_published_before_its_sync_is_caught: PublishedBeforeSync,
    p0_2_a_directory_that_is_not_synced_is_caught: DirectoryNotSynced,
    p0_2_going_on_after_eio_is_caught: WentOnAfterEio,
    p0_5_expiry_by_the_wall_clock_is_caught: ExpiredByWallClock,
    p0_5_looks_ahead_of_the_clock_are_caught: LookedAhead,
    p0_3_a_payload_that_is_not_compared_is_caught: PayloadNotCompared,
    p0_1_a_claim_that_is_not_logged_is_caught: ClaimNotLogged,
    p0_5_a_sweep_one_bucket_early_is_caught: SweptOneBucketEarly,
    p0_4_a_key_in_doubt_granted_again_is_caught: InDoubtGranted,
    p0_2_a_tail_that_is_not_copied_is_caught: TailNotCopied,
    c38_a_fingerprint_skipped_in_flight_is_caught: FingerprintSkippedInFlight,
    p0_5_a_retention_cut_short_is_caught: SecondsForMilliseconds,
    x9_a_record_kept_too_long_is_caught: KeptTooLong,
    p0_1_a_renewal_that_is_lost_is_caught: RenewalLost,
    p0_1_a_segment_unlinked_before_it_is_retired_is_caught: UnlinkedBeforeRetired,
    p0_1_a_file_reused_before_its_new_name_is_on_disk_is_caught: ReusedBeforeDirectorySync,
    p0_3_a_file_reused_under_its_reader_is_caught: ReusedUnderReader,
    p0_1_a_checkpoint_before_its_sync_is_caught: CheckpointedBeforeSync,
    c37_waiters_that_are_not_told_are_caught: WaitersNotTold,
    c46_a_key_that_is_not_given_back_is_caught: GiveBackForgotten,
    c36_room_that_is_not_reserved_is_caught: RoomNotReserved,
    p0_1_damage_that_is_forgotten_is_caught: DamageForgotten,
    p0_4_a_release_that_is_forgotten_is_caught: ReleaseForgotten,
    p0_1_a_spilled_key_that_is_not_looked_for_is_caught: SpilledNotProbed,
    p0_1_a_filter_that_lacks_a_key_is_caught: FilterBitsMissing,
    p0_1_an_older_run_that_wins_is_caught: OlderRunWins,
    p0_1_a_stale_ticket_that_is_accepted_is_caught: StaleTicketAccepted,
    p0_2_appends_behind_the_seal_are_caught: AppendedBehindSeal,
}

/// What is shown is small: a script that shows a planted bug is cut down to a few steps, and still
/// shows it.
#[test]
fn a_failing_script_is_cut_down_to_a_few_steps() {
    for bug in [Bug::AcknowledgedBeforeSync, Bug::InDoubtGranted] {
        let (_, script, wrong) = caught(bug, base_seed()).unwrap();
        let _planted = Planted::new(bug);
        let (small, wrong) = shrink(&script, wrong);
        println!("{bug:?}: {wrong}\n{small}");
        assert!(small.ops.len() <= 6, "{} steps are left", small.ops.len());
        assert!(run(&small).is_err());
    }
}

/// What is on the side is judged as well: calm scripts, in which nothing ends by itself, show a bug
/// there; and what is then told shows it without a side, as a rule: a power cut that is told keeps
/// other parts of the operation it falls on.
#[test]
fn a_world_that_ends_on_the_side_shows_what_is_wrong() {
    for bug in [Bug::AcknowledgedBeforeSync, Bug::TailNotCopied, Bug::CheckpointedBeforeSync] {
        let base = base_seed();
        let _planted = Planted::new(bug);
        let calm = |nth| Script::draw_calm(base.wrapping_add(nth)).with_asides(8);
        let mut told = (0..200).filter_map(|nth| run_and_tell(&calm(nth)).err()?.1);
        let shows = told.find(|told| told.aside_one_in == 0 && run(told).is_err());
        assert!(shows.is_some(), "{bug:?} was planted, and nothing on the side showed it");
    }
}
