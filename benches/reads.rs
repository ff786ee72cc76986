//! `cargo bench --features test-util --bench reads`: the read path beside its floor, in turn, over
//! the same files: hits with every byte read, state and fingerprint alone, misses, replays; one key
//! at a time and many; on one thread and on two. And the heap the index takes for a key. *One after
//! another* is the floor once more, each look begun when the one before it has its record.
//!
//! `READS_RECORDS` is how many records there are (4,000,000), `READS_DIRECTORY` where a store that
//! was filled before is kept for the next run, `READS_ONLY` a part of the names of the rows wanted,
//! `READS_THREADS=1` leaves the rows of two threads out.
//! Without `--bench` all is tried once, small.

#![allow(clippy::print_stdout, reason = "a benchmark is there to print")]
#![allow(clippy::cast_precision_loss, reason = "rates are printed with three figures")]

#[path = "support/floor.rs"]
mod floor;
#[allow(dead_code, reason = "shared with the benchmark that compares with redb")]
mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use onceward::{Claim, Durability, Fingerprint, Key, Options, Store};

use floor::Floor;
use support::keys::{self, Text};
use support::{directory, read_all, sure};

/// Keys of one call of `get_many`.
const MANY: usize = 64;
/// Claims in flight while the store is filled.
const FILL: u64 = 4096;

fn main() {
    let bench = std::env::args().any(|argument| argument == "--bench");
    let asked = |name| std::env::var(name).ok();
    let records = asked("READS_RECORDS").and_then(|records| records.parse().ok());
    let records = records.unwrap_or(if bench { 4_000_000 } else { 5_000 });
    let (lookups, rounds) = if bench { (400_000, 5) } else { (2_000, 1) };
    let own = directory();
    let place = asked("READS_DIRECTORY").map_or_else(|| own.path().join("store"), PathBuf::from);

    let before = anonymous_bytes();
    let store = filled(&place, records);
    println!(
        "{records} records: the index takes {:.1} bytes a key; anonymous memory grew by {:.1}",
        store.stats().index_bytes as f64 / records as f64,
        anonymous_bytes().saturating_sub(before) as f64 / records as f64,
    );
    let floor = Floor::new(&place, records);
    let mut rng = Rng::with_seed(1);
    let known = keys::known(&mut rng, records, lookups);
    let unknown = keys::unknown(&mut rng, lookups);
    assert_eq!(floor.look_up(&known, true), lookups, "the floor has every record");

    let rows: &[(&str, &[Text], &Work<'_>)] = &[
        ("floor, every byte read", &known, &|texts| floor.look_up(texts, true)),
        ("one after another, every byte read", &known, &|texts| floor.look_up_in_turn(texts, true)),
        ("get, every byte read", &known, &|texts| get(&store, texts, true)),
        ("get_many, every byte read", &known, &|texts| get_many(&store, texts, true)),
        ("floor, head", &known, &|texts| floor.look_up(texts, false)),
        ("one after another, head", &known, &|texts| floor.look_up_in_turn(texts, false)),
        ("get, head", &known, &|texts| get(&store, texts, false)),
        ("get_many, head", &known, &|texts| get_many(&store, texts, false)),
        ("claim, replay", &known, &|texts| replay(&store, texts)),
        ("floor, miss", &unknown, &|texts| floor.look_up(texts, true)),
        ("get, miss", &unknown, &|texts| get(&store, texts, true)),
        ("get_many, miss", &unknown, &|texts| get_many(&store, texts, true)),
    ];
    let only = asked("READS_ONLY").unwrap_or_default();
    println!("\n| | 1 thread, M/s | of the floor | 2 threads, M/s | of the floor |");
    println!("|---|---|---|---|---|");
    let mut times = vec![[const { Vec::new() }; 2]; rows.len()];
    for round in 0..rounds {
        for nth in 0..rows.len() {
            // Forwards, then backwards, so that nobody is always behind the same one.
            let nth = if round % 2 == 0 { nth } else { rows.len() - 1 - nth };
            let (Some((name, texts, work)), Some(times)) = (rows.get(nth), times.get_mut(nth))
            else {
                continue;
            };
            if name.starts_with("floor") || name.contains(&only) {
                let [one, two] = times;
                one.push(timed(1, texts, work));
                if asked("READS_THREADS").as_deref() != Some("1") {
                    two.push(timed(2, texts, work));
                }
            }
        }
    }
    let mut of = [1.0; 2];
    for ((name, ..), times) in rows.iter().zip(&mut times) {
        if times.iter().all(Vec::is_empty) {
            continue;
        }
        let rates = times.each_mut().map(|times| lookups as f64 / median(times) / 1e6);
        if name.starts_with("floor") {
            of = rates;
        }
        let [one, two] = rates;
        let [of_one, of_two] = of;
        println!("| {name} | {one:.2} | {:.2} | {two:.2} | {:.2} |", one / of_one, two / of_two);
    }
    sure(store.close());
}

/// Looks texts up and gives how many were found.
type Work<'a> = dyn Fn(&[Text]) -> usize + Sync + 'a;

fn timed(threads: usize, texts: &[Text], work: &Work<'_>) -> Duration {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let mut parts = texts.chunks(texts.len().div_ceil(threads));
        let mine = parts.next().unwrap_or_default();
        for part in parts {
            scope.spawn(move || work(part));
        }
        work(mine);
    });
    begun.elapsed()
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64()
}

fn get(store: &Store, texts: &[Text], whole: bool) -> usize {
    let (mut found, mut sum) = (0, 0_u64);
    for text in texts {
        if let Some(record) = sure(store.get(keys::key(text))) {
            sum = sum.wrapping_add(look_at(&record, whole));
            found += 1;
        }
    }
    std::hint::black_box(sum);
    found
}

fn get_many(store: &Store, texts: &[Text], whole: bool) -> usize {
    let (mut found, mut sum) = (0, 0_u64);
    let mut many = Vec::with_capacity(MANY);
    for texts in texts.chunks(MANY) {
        many.clear();
        many.extend(texts.iter().map(keys::key));
        for record in store.get_many(&many) {
            if let Some(record) = sure(record) {
                sum = sum.wrapping_add(look_at(&record, whole));
                found += 1;
            }
        }
    }
    std::hint::black_box(sum);
    found
}

fn look_at(record: &onceward::Record, whole: bool) -> u64 {
    let print = record.fingerprint().as_bytes().iter().fold(0, |sum, it| sum + u64::from(*it));
    let read = if whole { sure(record.read(read_all)).unwrap_or_default() } else { 0 };
    read.wrapping_add(print + record.state() as u64)
}

fn replay(store: &Store, texts: &[Text]) -> usize {
    let answered = texts.iter().filter(|text| {
        let claim = sure(store.blocking_claim(keys::key(text), keys::fingerprint(text)));
        matches!(claim, Claim::Replay(_))
    });
    answered.count()
}

/// The store at `place`, filled unless it was before.
fn filled(place: &Path, records: u64) -> Store {
    let options = || Options::new().index_memory(8 << 30).durability(Durability::Buffered);
    let store = sure(options().max_in_flight(1 << 20).max_in_flight_per_scope(1 << 20).open(place));
    let mut next = store.stats().records;
    while next < records {
        let texts: Vec<Text> = (next..records.min(next + FILL)).map(keys::text).collect();
        let wanted: Vec<(Key<'_>, Fingerprint)> =
            texts.iter().map(|text| (keys::key(text), keys::fingerprint(text))).collect();
        let payload = bytes::Bytes::from(keys::payload());
        let mut ends = Vec::with_capacity(texts.len());
        for claim in store.blocking_claim_many(&wanted) {
            match sure(claim) {
                Claim::Granted(ticket) => ends.push(ticket.complete(payload.clone())),
                other => panic!("a key nobody has claimed was not granted: {other:?}"),
            }
        }
        let waiting = tokio::runtime::Builder::new_current_thread().build();
        sure(waiting).block_on(async {
            for end in ends {
                sure(end.await);
            }
        });
        next += texts.len() as u64;
    }
    sure(store.close());
    // What the filling left in memory is nobody's measure: opened again, as any store is.
    sure(options().open(place))
}

/// Anonymous memory of this process, bytes; 0 where the system does not say.
fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() << 10
}
