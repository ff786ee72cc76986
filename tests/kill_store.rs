//! Processes with a store killed with SIGKILL, thousands of times, and an oracle outside of them
//! that heard what each had said (PROOF "process killed anywhere"). The gateway has its own:
//! `tests/kill.rs`.
//!
//! `KILLS` says how often, `STORES` how many stores at a time, `RACES` how many races, `CALLS` and
//! `FILLS` how many ends on a disk whose calls fail and on one that fills up.
#![cfg(all(feature = "test-util", unix))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "seeds and figures are printed")]

#[path = "kill_store/facts.rs"]
mod facts;
#[path = "kill_store/killer.rs"]
mod killer;
#[path = "kill_store/oracle.rs"]
mod oracle;
#[path = "kill_store/process.rs"]
mod process;
#[path = "kill_support/small_disk.rs"]
mod small_disk;
#[path = "kill_store/weather.rs"]
mod weather;
#[path = "kill_store/word.rs"]
mod word;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use killer::{Kills, Running};
use process::{Planted, Task};
use weather::Weather;
use word::Word;

/// The test that a process to be killed runs.
const PROCESS: &str = "p0_holds_however_often_the_process_is_killed";
/// How often the processes of one store are killed: then another is made, which is killed as it is.
const KILLS_OF_A_STORE: u64 = 50;
/// Within how many stores a planted bug is caught.
const PLANTED_STORES: u64 = 40;
/// As [`KILLS_OF_A_STORE`], of processes whose disk is not well either.
const ENDS_OF_A_STORE: u64 = 25;

/// The variable `name`, or `default`.
fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// The first seed, which is printed.
fn seed() -> u64 {
    let seed = match std::env::var("SEED").as_deref() {
        Ok("random") => fastrand::u64(..1 << 48),
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => 20_260_101,
    };
    println!("SEED={seed}");
    seed
}

// A machine whose processes die all the time: while the store is made, opened, looked at, worked on
// by four threads, swept, checkpointed and closed. Whatever was said before a death, by whomever,
// holds afterwards.
#[test]
fn p0_holds_however_often_the_process_is_killed() {
    if process::lived() {
        return;
    }
    let kills = variable("KILLS", 200);
    let total = rage(Weather::Fair, kills, "KILLS");
    let Kills { stores, opening, looking, working, closing, heard, .. } = total;
    println!(
        "figures: {} kills ({opening} opening, {looking} looking, {working} working, {closing} \
         closing) of {stores} stores; {} grants, {} results acknowledged, {} replays, {} expired \
         keys granted again; 0 lost, 0 granted twice",
        total.all(),
        heard.grants,
        heard.results,
        heard.replays,
        heard.expired
    );
    assert!(total.all() >= kills);
    for (how_often, when) in
        [(opening, "opening"), (looking, "looking"), (working, "working"), (closing, "closing")]
    {
        assert!(how_often * 40 > total.all(), "{how_often} were killed while {when}");
    }
    assert!(heard.results > 10 * kills && heard.expired > 0, "{heard:?}");
}

// A disk that fails a sync, a write or another call, once or from then on, and may say that all is
// well afterwards; or a process that dies within such a call, or of SIGKILL at any other moment.
// Whoever waited for what failed is told so, nothing is written behind it, what was shown stays, and
// the next process finds it all.
#[test]
fn p0_holds_while_calls_fail_and_processes_die_in_them() {
    let ends = variable("CALLS", 75);
    let total = rage(Weather::Calls, ends, "CALLS");
    let Kills { stores, calling, failing, heard, .. } = total;
    println!(
        "figures: {} ends ({failing} of failed calls, {calling} in a call, {} at other moments) of \
         {stores} stores; {} grants, {} results acknowledged, {} failed; 0 lost, 0 granted twice",
        total.ends(),
        total.all() - calling,
        heard.grants,
        heard.results,
        heard.failed
    );
    assert!(failing * 20 > ends && total.all() > 2 * calling, "{total:?}");
    // One end in thirty is within a call: few runs have none, and one that long does not.
    assert!(calling > 0 || ends < 1000, "{total:?}");
    assert!(heard.failed > 0 && heard.results > ends, "{heard:?}");
}

// A disk that is nearly full when the process starts, or fills up while it works. New keys are
// refused and leave nothing behind, every grant finds room for its end, what is there is answered;
// when somebody tidies the disk up, the process goes on by itself. It may be killed at any moment,
// and the next one may have to start on what is left of the disk.
#[test]
fn p0_holds_on_a_disk_that_fills_up_under_processes_that_die() {
    let ends = variable("FILLS", 75);
    let total = rage(Weather::Full, ends, "FILLS");
    let Kills { stores, failing, relieved, heard, .. } = total;
    println!(
        "figures: {} ends ({} killed, {relieved} with room again, {failing} without any) of {stores} \
         stores; {} grants, {} claims refused, {} results acknowledged, {} left out; 0 lost, \
         0 granted twice",
        total.ends(),
        total.all(),
        heard.grants,
        heard.refused,
        heard.results,
        heard.small
    );
    assert!(total.all() * 10 > ends && relieved * 20 > ends, "{total:?}");
    assert!(heard.refused > ends && heard.small > 0 && heard.results > ends, "{heard:?}");
}

/// Ends processes in such weather, `ends` times in all; `counted` is the variable that says so.
fn rage(weather: Weather, ends: u64, counted: &str) -> Kills {
    let first = seed();
    let of_a_store = if weather == Weather::Fair { KILLS_OF_A_STORE } else { ENDS_OF_A_STORE };
    let stores = ends.div_ceil(of_a_store);
    // Processes wait for the disk most of the time.
    let threads = 4 * std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let (next, total) = (AtomicU64::new(0), Mutex::new(Kills::default()));
    std::thread::scope(|scope| {
        for _ in 0..variable("STORES", threads).min(stores) {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::SeqCst);
                    if nth >= stores {
                        return;
                    }
                    let seed = first + nth;
                    let tried = killer::kill(PROCESS, Planted::Nothing, weather, seed, of_a_store);
                    let tried = tried.unwrap_or_else(|wrong| {
                        println!("replay: SEED={seed} {counted}=1");
                        panic!("{wrong}")
                    });
                    let mut total = total.lock().unwrap();
                    total.add(&tried);
                    if total.stores % 20 == 0 {
                        println!("so far: {} ends", total.ends());
                    }
                }
            });
        }
    });
    total.into_inner().unwrap()
}

// The same deaths, of processes with a bug: the oracle is to find each.
#[test]
fn what_is_planted_in_a_process_is_caught() {
    let first = seed();
    for weather in Weather::ALL {
        for planted in Planted::all(weather) {
            let caught = (0..PLANTED_STORES).find_map(|nth| {
                let seed = first + nth;
                let wrong =
                    killer::kill(PROCESS, planted, weather, seed, KILLS_OF_A_STORE).err()?;
                Some((nth, wrong))
            });
            let Some((nth, wrong)) = caught else {
                panic!("{planted:?} is not caught within {PLANTED_STORES} stores");
            };
            println!(
                "{planted:?}: caught with store {nth}: {}",
                wrong.lines().next().unwrap_or("")
            );
        }
    }
}

// Two processes open one store at the same moment, which is there already or is still to be made:
// one has it, and the other is told so.
#[test]
fn of_two_processes_that_open_a_store_at_once_exactly_one_has_it() {
    let start = || Running::start(PROCESS, Planted::Nothing).unwrap();
    let mut racers = [start(), start()];
    // In memory, where there is such a place: a store that is made costs many syncs.
    let parent = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (races, mut won) = (variable("RACES", 500), [0; 2]);
    for race in 0..races {
        let task = Task {
            seed: 0,
            // Every other race is for a store that is still to be made.
            directory: parent.path().join((race / 2).to_string()).to_str().unwrap().to_owned(),
            buffered: false,
            now_ms: 0,
            number: 0,
            key: 0,
            acts: 0,
            weather: Weather::Fair,
            look_at: Vec::new(),
        };
        for racer in &mut racers {
            racer.tell(&task.line());
        }
        let heard = racers.each_mut().map(|racer| {
            assert_eq!(racer.word().unwrap(), Some(Word::Opening), "race {race}");
            racer.word().unwrap().unwrap()
        });
        let [first, second] = &heard;
        let (winner, loser) = match (first, second) {
            (Word::Opened, Word::Fault(why)) => (0, why),
            (Word::Fault(why), Word::Opened) => (1, why),
            _ => panic!("race {race}: {heard:?}"),
        };
        assert!(loser.contains("Locked"), "race {race}: {loser}");
        won[winner] += 1;
        // The other has tried, and the store may be given back.
        racers[winner].tell("\n");
        assert_eq!(racers[winner].word().unwrap(), Some(Word::Closed), "race {race}");
    }
    println!("figures: {races} races, won {won:?}; one winner each");
    assert!(won.iter().all(|won| *won > 0), "{won:?}");
}
