//! Lookups of records that another process stored: hits with every octet read, heads, misses, and
//! claims that are answered from what is there.

use std::ops::Range;
use std::sync::Barrier;
use std::time::Instant;

use fastrand::Rng;

use super::tell;
use crate::args::Args;
use crate::floor::{self, Floor};
use crate::job::{Answer, Look, Peer};
use crate::machine;
use crate::work::{FAR_MS, UNKNOWN, Wanted, known, unknown};

/// How many keys are in flight while claims of them are measured: more than caches hold.
const HELD: u64 = 200_000;
/// Keys that are looked up with one call, where a store has one.
const TOGETHER: usize = 64;

pub(crate) fn fill<P: Peer>(args: &Args) {
    let begun = Instant::now();
    let (setup, records) = (args.setup(), args.number("records", 0));
    let peer = P::open(&setup);
    peer.fill(0..records, FAR_MS);
    peer.settle();
    peer.close();
    filled(args, begun);
}

pub(crate) fn fill_floor(args: &Args) {
    let begun = Instant::now();
    floor::fill(&args.setup(), 0..args.number("records", 0));
    filled(args, begun);
}

fn filled(args: &Args, begun: Instant) {
    tell("fill/seconds", begun.elapsed().as_secs_f64());
    tell("fill/disk", machine::disk(&args.setup().directory) as f64);
}

/// What is measured, told apart by the process that asks.
struct Measurement {
    threads: Vec<usize>,
    /// Lookups of one thread.
    count: usize,
    records: u64,
    rng: Rng,
    /// Keys that are in flight: between those of records and those nobody claims, and others in each
    /// process, one that measures a round again too, for they are in doubt when it has ended.
    held: Range<u64>,
    wants: String,
}

impl Measurement {
    fn new(args: &Args) -> Self {
        let seed: u64 = args.number("seed", 1);
        let held = UNKNOWN / 2 + fastrand::u64(..1 << 28) * HELD;
        Self {
            threads: (1..=args.number("threads", 2)).collect(),
            count: args.number("count", 1_000_000),
            records: args.number("records", 1),
            rng: Rng::with_seed(seed),
            held: held..held + HELD,
            wants: args.text("rows", "s1,s2,s3"),
        }
    }

    fn wants(&self, row: &str) -> bool {
        self.wants.split(',').any(|wanted| wanted == row)
    }

    fn known(&mut self, threads: usize) -> Vec<Vec<Wanted>> {
        (0..threads).map(|_| known(&mut self.rng, self.records, self.count)).collect()
    }

    fn unknown(&mut self, threads: usize) -> Vec<Vec<Wanted>> {
        (0..threads).map(|_| unknown(&mut self.rng, self.count)).collect()
    }

    fn held(&mut self, threads: usize) -> Vec<Vec<Wanted>> {
        let mut one = || Wanted::of(self.rng.u64(self.held.clone()));
        (0..threads).map(|_| (0..self.count).map(|_| one()).collect()).collect()
    }

    /// Looks up with `look_up`, and then with `together`, all that the rows want of any store.
    fn look(
        &mut self,
        look_up: impl Fn(&[Wanted], Look) -> usize + Sync,
        together: impl Fn(&[Wanted], Look) -> Option<usize> + Sync,
    ) {
        // What the first lookups bring into memory is no part of the rest.
        let warming = self.known(2);
        rate(&warming, |wanted| look_up(wanted, Look::Payload));
        drop(warming);
        let all = |keys: &[Wanted], look| {
            keys.chunks(TOGETHER).map(|some| together(some, look).unwrap_or_default()).sum()
        };
        let has_together = together(&[Wanted::of(0)], Look::Payload).is_some();
        for threads in self.threads.clone() {
            for (row, look) in [("s1", Look::Payload), ("s2", Look::Head), ("s3", Look::Miss)] {
                if !self.wants(row) {
                    continue;
                }
                let miss = look == Look::Miss;
                let name = match look {
                    Look::Payload => "hit",
                    Look::Head => "head",
                    Look::Miss => "miss",
                };
                let mut lists = || if miss { self.unknown(threads) } else { self.known(threads) };
                let each = rate(&lists(), |keys| look_up(keys, look));
                tell(format!("{row}/{name}/{threads}"), each);
                if has_together {
                    let each = rate(&lists(), |keys| all(keys, look));
                    tell(format!("{row}/{name} together/{threads}"), each);
                }
            }
        }
    }
}

/// Lookups a second of as many threads as there are `lists`, from when the first begins, all of them
/// standing ready, until the last has ended. Every answer has to be the right one.
fn rate(lists: &[Vec<Wanted>], look_up: impl Fn(&[Wanted]) -> usize + Sync) -> f64 {
    let ready = Barrier::new(lists.len());
    let timed = |list: &Vec<Wanted>| {
        ready.wait();
        let begun = Instant::now();
        let good = look_up(list);
        let ended = Instant::now();
        assert_eq!(good, list.len(), "answers that are not what was stored");
        (begun, ended)
    };
    let times: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let threads: Vec<_> = lists.iter().map(|list| scope.spawn(|| timed(list))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    assert_eq!(times.len(), lists.len(), "a thread has failed");
    let begun = times.iter().map(|(begun, _)| *begun).min();
    let ended = times.iter().map(|(_, ended)| *ended).max();
    let took = begun.zip(ended).map(|(begun, ended)| ended - begun).unwrap_or_default();
    lists.iter().map(Vec::len).sum::<usize>() as f64 / took.as_secs_f64()
}

pub(crate) fn measure<P: Peer>(args: &Args) {
    let mut measurement = Measurement::new(args);
    let mut setup = args.setup();
    if measurement.wants("answers") {
        setup.in_flight = HELD;
    }
    machine::read(&setup.directory);
    let peer = P::open(&setup);
    peer.warm();
    let look_up = |wanted: &[Wanted], look| peer.look_up(wanted, look);
    measurement.look(look_up, |wanted, look| peer.look_up_together(wanted, look));
    if measurement.wants("answers") {
        answers(&peer, &mut measurement);
    }
    if measurement.wants("heap") {
        // Of the whole process: the lists of keys are gone, all else is there.
        tell("heap", machine::anonymous() as f64);
        tell("resident", machine::resident() as f64);
    }
    peer.close();
}

fn answers<P: Peer>(peer: &P, measurement: &mut Measurement) {
    let probe = [Wanted::of(0)];
    if peer.answers(&probe, Answer::Replay).is_none() {
        return;
    }
    peer.hold(measurement.held.clone());
    for threads in measurement.threads.clone() {
        for (name, answer) in [
            ("replay", Answer::Replay),
            ("replay read", Answer::ReplayRead),
            ("in flight", Answer::InFlight),
            ("mismatch", Answer::Mismatch),
        ] {
            let held = answer == Answer::InFlight;
            let lists = if held { measurement.held(threads) } else { measurement.known(threads) };
            let answered = rate(&lists, |keys| peer.answers(keys, answer).unwrap_or_default());
            tell(format!("s3/{name}/{threads}"), answered);
            let all = |keys: &[Wanted]| {
                let calls = keys.chunks(TOGETHER);
                calls.map(|some| peer.answers_together(some, answer).unwrap_or_default()).sum()
            };
            if peer.answers_together(&[], answer).is_some() {
                tell(format!("s3/{name} together/{threads}"), rate(&lists, all));
            }
        }
    }
}

pub(crate) fn floor(args: &Args) {
    let setup = args.setup();
    machine::read(&setup.directory);
    let floor = Floor::open(&setup);
    Measurement::new(args).look(|wanted, look| floor.look_up(wanted, look), |_, _| None);
}
