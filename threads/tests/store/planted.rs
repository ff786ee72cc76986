//! The schedules are on trial, too: bugs planted in the store, each of which must be found in a
//! scenario within as many of them as the quick tier gives it, from its seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use onceward::storage::SimDisk;
use onceward::{Bug, ManualClock, State, Store, plant};
use shuttle::thread;

use crate::three_claim_at_once;
use crate::{ROUNDS, SCHEDULES, drive, grant, key, one_gives_up, play, play_on_disk, runs};

/// What a schedule fails with, if one does, where `bug` is planted: in this thread, on which the
/// scheduler runs all of the store's.
fn found(bug: Option<Bug>, play: impl Fn() + Send + Sync + 'static) -> Option<String> {
    let play = Arc::new(play);
    plant(bug);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        drive(&play, ROUNDS, runs(ROUNDS, SCHEDULES), None);
    }));
    plant(None);
    let said = ran.err()?;
    let text = said.downcast_ref::<&str>().map(|said| (*said).to_owned());
    Some(text.or_else(|| said.downcast_ref::<String>().cloned()).unwrap_or_default())
}

/// A result that somebody is shown outlives the power, which goes as he is.
fn what_is_shown_is_on_disk(store: &Store, _: &ManualClock, disk: &Arc<SimDisk>, round: usize) {
    let result = format!("the result of round {round}");
    let ticket = grant(store, round);
    let (looker, power, shown) = (store.clone(), Arc::clone(disk), result.clone());
    let looking = thread::spawn(move || {
        for _ in 0..3 {
            let seen = looker.get(key(round)).unwrap().map(|record| record.state());
            if seen == Some(State::Complete) {
                let left = power.fork().power_loss_total();
                let mut files = left.files().into_iter().map(|path| left.read_file(&path).unwrap());
                let holds = |bytes: Vec<u8>| {
                    bytes.windows(shown.len()).any(|octets| octets == shown.as_bytes())
                };
                assert!(files.any(holds), "P0.2: what is shown goes with the power");
                break;
            }
            thread::yield_now();
        }
    });
    ticket.blocking_complete(result).unwrap();
    looking.join().unwrap();
}

#[test]
fn p0_2_a_result_that_is_published_before_the_sync_is_found() {
    assert_eq!(found(None, play_on_disk(ROUNDS, what_is_shown_is_on_disk)), None);
    let bug = Some(Bug::AcknowledgedBeforeSync);
    let said = found(bug, play_on_disk(ROUNDS, what_is_shown_is_on_disk)).unwrap();
    assert!(said.contains("goes with the power"), "{said}");
}

/// Who waits for a time waits to be told, under the scheduler, and it finds that nobody can go on.
#[test]
fn p0_1_a_waiter_that_is_not_told_of_the_end_is_found() {
    let said = found(Some(Bug::WaitersNotTold), play(ROUNDS, three_claim_at_once)).unwrap();
    assert!(said.contains("deadlock"), "{said}");
}

#[test]
fn p0_1_a_claim_that_is_given_up_and_keeps_its_key_is_found() {
    let said = found(Some(Bug::GiveBackForgotten), play(ROUNDS, one_gives_up)).unwrap();
    assert!(said.contains("deadlock"), "{said}");
}
