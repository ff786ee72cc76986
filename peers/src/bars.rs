//! The rows of the table: their measures, and the bars each is held to.

/// What a measure's figures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Operations a second.
    Rate,
    Microseconds,
    Milliseconds,
    Octets,
    /// A part or a multiple of something.
    Ratio,
    /// What each measure says for itself.
    Plain,
}

impl Unit {
    pub(crate) const fn more_is_better(self) -> bool {
        matches!(self, Self::Rate)
    }
}

/// One measure of a row.
pub(crate) struct Measure {
    pub(crate) metric: &'static str,
    pub(crate) label: &'static str,
}

/// What onceward's figure is held against.
#[derive(Clone, Copy)]
pub(crate) enum Against {
    /// A peer's figure of a measure.
    Peer(&'static str, &'static str),
    /// The best figure of any peer, the floor left out.
    Best(&'static str),
    /// A figure of onceward's own of another measure.
    Own(&'static str),
    /// A number in the measure's own unit.
    Number(f64),
}

/// A bar: onceward's figure of `metric`, divided by what it is held against, is at least (or at
/// most) `factor`; or, of a cost, the other way about.
pub(crate) struct Bar {
    pub(crate) metric: &'static str,
    pub(crate) against: Against,
    pub(crate) at_least: bool,
    /// Whether the figures are rates, and what is held is how much longer one takes.
    pub(crate) is_cost: bool,
    pub(crate) factor: f64,
    pub(crate) says: &'static str,
}

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) measures: &'static [Measure],
    pub(crate) bars: &'static [Bar],
}

const fn measure(metric: &'static str, label: &'static str) -> Measure {
    Measure { metric, label }
}

const fn least(metric: &'static str, against: Against, factor: f64, says: &'static str) -> Bar {
    Bar { metric, against, at_least: true, is_cost: false, factor, says }
}

const fn most(metric: &'static str, against: Against, factor: f64, says: &'static str) -> Bar {
    Bar { metric, against, at_least: false, is_cost: false, factor, says }
}

/// A rate, one of which takes at most `factor` times as long as one of `own`, another of onceward's.
const fn costs(metric: &'static str, own: &'static str, factor: f64, says: &'static str) -> Bar {
    Bar { metric, against: Against::Own(own), at_least: false, is_cost: true, factor, says }
}

use Against::{Best, Number, Own, Peer};

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "s1", title: "S1 · get, every octet of the payload read", unit: Unit::Rate,
        measures: &[
            measure("s1/hit/1", "1 thread"), measure("s1/hit/2", "2 threads"),
            measure("s1/hit together/1", "64 keys a call, 1 thread"),
            measure("s1/hit together/2", "64 keys a call, 2 threads"),
        ],
        bars: &[
            least("s1/hit/1", Peer("floor", "s1/hit/1"), 0.7, "70% of the floor, 1 thread"),
            least("s1/hit/2", Peer("floor", "s1/hit/2"), 0.7, "70% of the floor, 2 threads"),
            least("s1/hit/1", Peer("lmdb", "s1/hit/1"), 1.8, "1.8× LMDB, 1 thread"),
            least("s1/hit/2", Peer("lmdb", "s1/hit/2"), 1.8, "1.8× LMDB, 2 threads"),
            least("s1/hit/1", Peer("redb", "s1/hit/1"), 2.5, "2.5× redb, 1 thread"),
            least("s1/hit/2", Peer("redb", "s1/hit/2"), 2.5, "2.5× redb, 2 threads"),
            least("s1/hit/1", Peer("floor", "s1/hit/1"), 0.9, "90% of the floor, 1 thread (wished for)"),
            least("s1/hit/2", Peer("floor", "s1/hit/2"), 0.9, "90% of the floor, 2 threads (wished for)"),
            least("s1/hit/1", Peer("lmdb", "s1/hit/1"), 2.5, "2.5× LMDB, 1 thread (wished for)"),
            least("s1/hit/2", Peer("lmdb", "s1/hit/2"), 2.5, "2.5× LMDB, 2 threads (wished for)"),
            least("s1/hit together/1", Own("s1/hit/1"), 2.0, "2× `get`, by `get_many`, 1 thread (wished for)"),
            least("s1/hit together/2", Own("s1/hit/2"), 2.0, "2× `get`, by `get_many`, 2 threads (wished for)"),
        ],
    },
    Row {
        name: "s2", title: "S2 · get, state and fingerprint alone", unit: Unit::Rate,
        measures: &[
            measure("s2/head/1", "1 thread"), measure("s2/head/2", "2 threads"),
            measure("s2/head together/1", "64 keys a call, 1 thread"),
            measure("s2/head together/2", "64 keys a call, 2 threads"),
        ],
        bars: &[
            least("s2/head/1", Peer("floor", "s2/head/1"), 0.7, "70% of the floor, 1 thread"),
            least("s2/head/2", Peer("floor", "s2/head/2"), 0.7, "70% of the floor, 2 threads"),
            least("s2/head/1", Peer("lmdb", "s2/head/1"), 2.5, "2.5× LMDB, 1 thread"),
            least("s2/head/2", Peer("lmdb", "s2/head/2"), 2.5, "2.5× LMDB, 2 threads"),
            least("s2/head/1", Peer("floor", "s2/head/1"), 0.9, "90% of the floor, 1 thread (wished for)"),
            least("s2/head/2", Peer("floor", "s2/head/2"), 0.9, "90% of the floor, 2 threads (wished for)"),
            least("s2/head/1", Peer("lmdb", "s2/head/1"), 3.5, "3.5× LMDB, 1 thread (wished for)"),
            least("s2/head/2", Peer("lmdb", "s2/head/2"), 3.5, "3.5× LMDB, 2 threads (wished for)"),
        ],
    },
    Row {
        name: "s3", title: "S3 · answers without a write: get of an unknown key, and claims",
        unit: Unit::Rate,
        measures: &[
            measure("s3/miss/1", "unknown key, 1 thread"), measure("s3/miss/2", "unknown key, 2 threads"),
            measure("s3/miss together/1", "64 unknown keys a call, 1 thread"),
            measure("s3/miss together/2", "64 unknown keys a call, 2 threads"),
            measure("s3/replay/1", "claim: replay, 1 thread"), measure("s3/replay/2", "claim: replay, 2 threads"),
            measure("s3/replay read/1", "claim: replay, every octet of the payload read, 1 thread"),
            measure("s3/replay read/2", "the same, 2 threads"),
            measure("s3/in flight/1", "claim: in flight, 1 thread"), measure("s3/in flight/2", "claim: in flight, 2 threads"),
            measure("s3/mismatch/1", "claim: mismatch, 1 thread"), measure("s3/mismatch/2", "claim: mismatch, 2 threads"),
            measure("s3/replay together/1", "claims, 64 a call: replays, 1 thread"),
            measure("s3/replay together/2", "claims, 64 a call: replays, 2 threads"),
            measure("s3/in flight together/1", "claims, 64 a call: in flight, 1 thread"),
            measure("s3/in flight together/2", "claims, 64 a call: in flight, 2 threads"),
            measure("s3/mismatch together/1", "claims, 64 a call: mismatches, 1 thread"),
            measure("s3/mismatch together/2", "claims, 64 a call: mismatches, 2 threads"),
        ],
        bars: &[
            least("s3/miss/1", Peer("lmdb", "s3/miss/1"), 5.0, "5× LMDB's, unknown key, 1 thread"),
            least("s3/miss/2", Peer("lmdb", "s3/miss/2"), 5.0, "5× LMDB's, unknown key, 2 threads"),
            least("s3/miss/1", Peer("rocksdb", "s3/miss/1"), 1.5, "1.5× RocksDB's, unknown key, 1 thread"),
            least("s3/miss/2", Peer("rocksdb", "s3/miss/2"), 1.5, "1.5× RocksDB's, unknown key, 2 threads"),
            least("s3/miss/2", Number(1.0), 12e6, "12 M/s, unknown key, 2 threads (wished for)"),
            least("s3/replay/1", Peer("lmdb", "s3/miss/1"), 5.0, "5× LMDB's miss, replay, 1 thread"),
            least("s3/replay/2", Peer("lmdb", "s3/miss/2"), 5.0, "5× LMDB's miss, replay, 2 threads"),
            least("s3/replay/1", Peer("rocksdb", "s3/miss/1"), 1.5, "1.5× RocksDB's miss, replay, 1 thread"),
            least("s3/replay/2", Peer("rocksdb", "s3/miss/2"), 1.5, "1.5× RocksDB's miss, replay, 2 threads"),
            least("s3/in flight/1", Peer("lmdb", "s3/miss/1"), 5.0, "5× LMDB's miss, in flight, 1 thread"),
            least("s3/in flight/2", Peer("lmdb", "s3/miss/2"), 5.0, "5× LMDB's miss, in flight, 2 threads"),
            least("s3/in flight/1", Peer("rocksdb", "s3/miss/1"), 1.5, "1.5× RocksDB's miss, in flight, 1 thread"),
            least("s3/in flight/2", Peer("rocksdb", "s3/miss/2"), 1.5, "1.5× RocksDB's miss, in flight, 2 threads"),
            least("s3/mismatch/1", Peer("lmdb", "s3/miss/1"), 5.0, "5× LMDB's miss, mismatch, 1 thread"),
            least("s3/mismatch/2", Peer("lmdb", "s3/miss/2"), 5.0, "5× LMDB's miss, mismatch, 2 threads"),
            least("s3/mismatch/1", Peer("rocksdb", "s3/miss/1"), 1.5, "1.5× RocksDB's miss, mismatch, 1 thread"),
            least("s3/mismatch/2", Peer("rocksdb", "s3/miss/2"), 1.5, "1.5× RocksDB's miss, mismatch, 2 threads"),
            least("s3/replay together/2", Peer("lmdb", "s3/miss/2"), 5.0, "64 a call: 5× LMDB's single miss, replays, 2 threads"),
            least("s3/replay together/2", Peer("rocksdb", "s3/miss together/2"), 1.5, "64 a call: 1.5× RocksDB's misses, 64 a call, replays, 2 threads"),
            least("s3/in flight together/2", Peer("lmdb", "s3/miss/2"), 5.0, "64 a call: 5× LMDB's single miss, in flight, 2 threads"),
            least("s3/in flight together/2", Peer("rocksdb", "s3/miss together/2"), 1.5, "64 a call: 1.5× RocksDB's misses, 64 a call, in flight, 2 threads"),
            least("s3/mismatch together/2", Peer("lmdb", "s3/miss/2"), 5.0, "64 a call: 5× LMDB's single miss, mismatches, 2 threads"),
            least("s3/mismatch together/2", Peer("rocksdb", "s3/miss together/2"), 1.5, "64 a call: 1.5× RocksDB's misses, 64 a call, mismatches, 2 threads"),
        ],
    },
    Row {
        name: "s4", title: "S4 · durable cycles, claim and completion both on disk", unit: Unit::Rate,
        measures: &[
            measure("s4/cycles/1", "1 task"), measure("s4/cycles/64", "64 tasks"),
            measure("s4/cycles/256", "256 tasks"), measure("s4/cycles/1024", "1,024 tasks"),
        ],
        bars: &[
            least("s4/cycles/1", Peer("floor", "s4/cycles/1"), 0.5, "50% of the floor, 1 task"),
            least("s4/cycles/64", Peer("floor", "s4/cycles/64"), 0.5, "50% of the floor, 64 tasks"),
            least("s4/cycles/256", Peer("floor", "s4/cycles/256"), 0.5, "50% of the floor, 256 tasks"),
            least("s4/cycles/1024", Peer("floor", "s4/cycles/1024"), 0.5, "50% of the floor, 1,024 tasks"),
            least("s4/cycles/64", Best("s4/cycles/64"), 2.0, "2× the best peer, 64 tasks"),
            least("s4/cycles/256", Best("s4/cycles/256"), 2.0, "2× the best peer, 256 tasks"),
            least("s4/cycles/1024", Best("s4/cycles/1024"), 2.0, "2× the best peer, 1,024 tasks"),
            least("s4/cycles/1", Peer("floor", "s4/cycles/1"), 0.65, "65% of the floor, 1 task (wished for)"),
            least("s4/cycles/64", Peer("floor", "s4/cycles/64"), 0.65, "65% of the floor, 64 tasks (wished for)"),
            least("s4/cycles/256", Peer("floor", "s4/cycles/256"), 0.65, "65% of the floor, 256 tasks (wished for)"),
            least("s4/cycles/1024", Peer("floor", "s4/cycles/1024"), 0.65, "65% of the floor, 1,024 tasks (wished for)"),
            least("s4/cycles/64", Best("s4/cycles/64"), 3.0, "3× the best peer, 64 tasks (wished for)"),
            least("s4/cycles/256", Best("s4/cycles/256"), 3.0, "3× the best peer, 256 tasks (wished for)"),
            least("s4/cycles/1024", Best("s4/cycles/1024"), 3.0, "3× the best peer, 1,024 tasks (wished for)"),
        ],
    },
    Row {
        name: "long", title: "S4 · the same for a minute", unit: Unit::Rate,
        measures: &[
            measure("long/1", "1 task"), measure("long/64", "64 tasks"),
            measure("long/256", "256 tasks"), measure("long/1024", "1,024 tasks"),
        ],
        bars: &[
            least("long/1", Peer("floor", "long/1"), 0.5, "50% of the floor, 1 task"),
            least("long/64", Peer("floor", "long/64"), 0.5, "50% of the floor, 64 tasks"),
            least("long/256", Peer("floor", "long/256"), 0.5, "50% of the floor, 256 tasks"),
            least("long/1024", Peer("floor", "long/1024"), 0.5, "50% of the floor, 1,024 tasks"),
            least("long/64", Best("long/64"), 2.0, "2× the best peer, 64 tasks"),
            least("long/256", Best("long/256"), 2.0, "2× the best peer, 256 tasks"),
            least("long/1024", Best("long/1024"), 2.0, "2× the best peer, 1,024 tasks"),
        ],
    },
    Row {
        name: "latency", title: "Latency at 256 tasks, checkpoint and sweep running", unit: Unit::Microseconds,
        measures: &[
            measure("latency/256/claim p50", "claim, p50"), measure("latency/256/claim p99", "claim, p99"),
            measure("latency/256/claim p99.9", "claim, p99.9"), measure("latency/256/claim most", "claim, most"),
            measure("latency/256/complete p50", "complete, p50"), measure("latency/256/complete p99", "complete, p99"),
            measure("latency/256/complete p99.9", "complete, p99.9"), measure("latency/256/complete most", "complete, most"),
            measure("latency/256/get p50", "get, p50"), measure("latency/256/get p99", "get, p99"),
            measure("latency/256/get p99.9", "get, p99.9"), measure("latency/256/get most", "get, most"),
            measure("latency/256/write p50", "floor: write and sync of a gathering, p50"),
            measure("latency/256/write p99", "floor: write and sync of a gathering, p99"),
            measure("latency/256/write p99.9", "floor: write and sync of a gathering, p99.9"),
            measure("latency/256/write most", "floor: write and sync of a gathering, most"),
            measure("latency/256/write beside removal p50", "the same, while a file goes each second, p50"),
            measure("latency/256/write beside removal p99", "the same, while a file goes each second, p99"),
            measure("latency/256/write beside removal p99.9", "the same, while a file goes each second, p99.9"),
            measure("latency/256/write beside removal most", "the same, while a file goes each second, most"),
            measure("latency/256/removal p50", "a step of that removal, p50"),
            measure("latency/256/removal p99", "a step of that removal, p99"),
            measure("latency/256/removal p99.9", "a step of that removal, p99.9"),
            measure("latency/256/removal most", "a step of that removal, most"),
        ],
        bars: &[
            most("latency/256/claim most", Number(1.0), 20e3, "20 ms, the longest claim, the disk's own pauses included"),
            most("latency/256/complete most", Number(1.0), 20e3, "20 ms, the longest completion, likewise"),
            most("latency/256/get most", Number(1.0), 20e3, "20 ms, the longest get"),
        ],
    },
    Row {
        name: "latency-memory", title: "Latency at 256 tasks, on a file system in memory", unit: Unit::Microseconds,
        measures: &[
            measure("latency-memory/256/claim p50", "claim, p50"), measure("latency-memory/256/claim p99", "claim, p99"),
            measure("latency-memory/256/claim p99.9", "claim, p99.9"), measure("latency-memory/256/claim most", "claim, most"),
            measure("latency-memory/256/complete p50", "complete, p50"), measure("latency-memory/256/complete p99", "complete, p99"),
            measure("latency-memory/256/complete p99.9", "complete, p99.9"), measure("latency-memory/256/complete most", "complete, most"),
            measure("latency-memory/256/get p50", "get, p50"), measure("latency-memory/256/get p99", "get, p99"),
            measure("latency-memory/256/get p99.9", "get, p99.9"), measure("latency-memory/256/get most", "get, most"),
            measure("latency-memory/256/write p50", "floor: write and sync of a gathering, p50"),
            measure("latency-memory/256/write p99", "floor: write and sync of a gathering, p99"),
            measure("latency-memory/256/write p99.9", "floor: write and sync of a gathering, p99.9"),
            measure("latency-memory/256/write most", "floor: write and sync of a gathering, most"),
            measure("latency-memory/256/write beside removal p50", "the same, while a file goes each second, p50"),
            measure("latency-memory/256/write beside removal p99", "the same, while a file goes each second, p99"),
            measure("latency-memory/256/write beside removal p99.9", "the same, while a file goes each second, p99.9"),
            measure("latency-memory/256/write beside removal most", "the same, while a file goes each second, most"),
            measure("latency-memory/256/removal p50", "a step of that removal, p50"),
            measure("latency-memory/256/removal p99", "a step of that removal, p99"),
            measure("latency-memory/256/removal p99.9", "a step of that removal, p99.9"),
            measure("latency-memory/256/removal most", "a step of that removal, most"),
        ],
        bars: &[
            most("latency-memory/256/claim most", Number(1.0), 20e3, "20 ms, the longest claim, by the engine itself"),
            most("latency-memory/256/complete most", Number(1.0), 20e3, "20 ms, the longest completion, likewise"),
            most("latency-memory/256/get most", Number(1.0), 20e3, "20 ms, the longest get"),
        ],
    },
    Row {
        name: "s5", title: "S5 · one durable cycle alone", unit: Unit::Microseconds,
        measures: &[measure("s5/median", "median"), measure("s5/mean", "mean"), measure("s5/p99", "p99")],
        bars: &[
            most("s5/median", Peer("floor", "s5/median"), 1.25, "1.25× two bare appends, each synced"),
            most("s5/median", Peer("floor", "s5/median"), 1.1, "1.1× the same (wished for)"),
        ],
    },
    Row {
        name: "s6", title: "S6 · sweep, expired entries", unit: Unit::Rate,
        measures: &[
            measure("s6/sweep", "among four times as many alive, until it answers"),
            measure("s6/sweep/gone", "the same, until the disk has it back"),
            measure("s6/alive/1", "64 octets, among as many"), measure("s6/alive/10", "64 octets, among ten times as many"),
        ],
        bars: &[
            least("s6/sweep", Number(1.0), 5e6, "5 million entries a second, until it answers"),
            least("s6/sweep/gone", Number(1.0), 5e6, "5 million entries a second, until the disk has it back"),
            costs("s6/alive/10", "s6/alive/1", 1.3, "1.3× the cost, a tenfold number alive"),
        ],
    },
    Row {
        name: "s6disk", title: "S6 · disk given back, for each octet of key and payload that expired", unit: Unit::Ratio,
        measures: &[
            measure("s6/sweep/disk given back", "among four times as many alive"),
            measure("s6/alive/1/disk given back", "64 octets, among as many"),
            measure("s6/alive/10/disk given back", "64 octets, among ten times as many"),
        ],
        bars: &[least("s6/sweep/disk given back", Number(1.0), 1.0, "1, all that expired")],
    },
    Row {
        name: "s7", title: "S7 · open, until the first durable grant", unit: Unit::Milliseconds,
        measures: &[
            measure("s7/clean/1M", "closed, 1M records"), measure("s7/clean/10M", "closed, 10M records of 64 octets"),
            measure("s7/killed/1M", "killed, 1M records"), measure("s7/killed/10M", "killed, 10M records of 64 octets"),
        ],
        bars: &[
            most("s7/clean/1M", Number(1.0), 50.0, "50 ms, closed, 1M"),
            most("s7/clean/10M", Number(1.0), 50.0, "50 ms, closed, 10M"),
            most("s7/killed/1M", Number(1.0), 1000.0, "1 s, killed, 1M"),
            most("s7/killed/10M", Number(1.0), 1000.0, "1 s, killed, 10M"),
        ],
    },
    Row {
        name: "s7frames", title: "S7 · frames that an opening after a kill has to replay", unit: Unit::Plain,
        measures: &[
            measure("s7/killed/1M/frames", "1M records"), measure("s7/killed/10M/frames", "10M records of 64 octets"),
        ],
        bars: &[],
    },
    Row {
        name: "s8", title: "S8 · heap a key (RssAnon)", unit: Unit::Octets,
        measures: &[
            measure("s8/opened/1M", "1M, opened"), measure("s8/opened/4M", "4M, opened"),
            measure("s8/opened/10M", "10M, opened"), measure("s8/opened/50M", "50M, opened"),
            measure("s8/filled/1M", "1M, filled"), measure("s8/filled/4M", "4M, filled"),
            measure("s8/filled/10M", "10M, filled"), measure("s8/filled/50M", "50M, filled"),
        ],
        bars: &[
            most("s8/opened/1M", Number(1.0), 40.0, "40 octets, 1M"),
            most("s8/opened/4M", Number(1.0), 40.0, "40 octets, 4M"),
            most("s8/opened/10M", Number(1.0), 40.0, "40 octets, 10M"),
            most("s8/opened/50M", Number(1.0), 40.0, "40 octets, 50M"),
            most("s8/filled/1M", Number(1.0), 40.0, "40 octets, 1M, filled"),
            most("s8/filled/4M", Number(1.0), 40.0, "40 octets, 4M, filled"),
            most("s8/filled/10M", Number(1.0), 40.0, "40 octets, 10M, filled"),
            most("s8/filled/50M", Number(1.0), 40.0, "40 octets, 50M, filled"),
            most("s8/opened/10M", Number(1.0), 26.0, "26 octets, 10M (wished for)"),
        ],
    },
    Row {
        name: "tight", title: "S8 · index_memory at a tenth of what the keys need", unit: Unit::Plain,
        measures: &[
            measure("tight/misses", "unknown keys a second, 1 thread"),
            measure("tight/hits", "known keys a second, every octet read, 1 thread"),
            measure("tight/heap", "RssAnon ÷ (budget + 64 MiB)"),
        ],
        bars: &[
            least("tight/misses", Number(1.0), 1e6, "1 M/s of unknown keys"),
            most("tight/heap", Number(1.0), 1.0, "the budget and 64 MiB"),
        ],
    },
    Row {
        name: "s9", title: "S9 · growth, 64 octets", unit: Unit::Rate,
        measures: &[
            measure("s9/hit/1M", "get, 1M"), measure("s9/hit/10M", "get, 10M"), measure("s9/hit/50M", "get, 50M"),
            measure("s9/head/1M", "head, 1M"), measure("s9/head/10M", "head, 10M"), measure("s9/head/50M", "head, 50M"),
            measure("s9/miss/1M", "miss, 1M"), measure("s9/miss/10M", "miss, 10M"), measure("s9/miss/50M", "miss, 50M"),
            measure("s9/cycles/1M", "cycles, 256 tasks, 1M"), measure("s9/cycles/10M", "cycles, 256 tasks, 10M"),
            measure("s9/cycles/50M", "cycles, 256 tasks, 50M"),
            measure("s9/at once/1M", "cycles, just opened, 1M"), measure("s9/at once/10M", "cycles, just opened, 10M"),
            measure("s9/at once/50M", "cycles, just opened, 50M"),
        ],
        bars: &[
            costs("s9/hit/50M", "s9/hit/1M", 1.5, "1.5× the cost at 1M, get, 50M"),
            costs("s9/head/50M", "s9/head/1M", 1.5, "1.5× the cost at 1M, head, 50M"),
            costs("s9/miss/50M", "s9/miss/1M", 1.5, "1.5× the cost at 1M, miss, 50M"),
            costs("s9/cycles/50M", "s9/cycles/1M", 1.5, "1.5× the cost at 1M, a cycle, 50M"),
            costs("s9/at once/50M", "s9/at once/1M", 1.5, "1.5× the cost at 1M, a cycle of a store just opened, 50M"),
        ],
    },
    Row {
        name: "s9open", title: "S9 · opening, 64 octets", unit: Unit::Milliseconds,
        measures: &[
            measure("s9/open/1M", "until the first durable grant, 1M"), measure("s9/open/10M", "the same, 10M"),
            measure("s9/open/50M", "the same, 50M"),
            measure("s9/open/1M/whole", "until all keys are in memory, 1M"), measure("s9/open/10M/whole", "the same, 10M"),
            measure("s9/open/50M/whole", "the same, 50M"),
        ],
        bars: &[most("s9/open/50M", Number(1.0), 50.0, "50 ms, 50M")],
    },
    Row {
        name: "s9room", title: "S9 · octets a record", unit: Unit::Octets,
        measures: &[
            measure("s9/heap/1M", "heap, 1M"), measure("s9/heap/10M", "heap, 10M"), measure("s9/heap/50M", "heap, 50M"),
            measure("s9/resident/1M", "with mapped files, 1M"), measure("s9/resident/10M", "with mapped files, 10M"),
            measure("s9/resident/50M", "with mapped files, 50M"),
            measure("s9/disk/1M", "disk, 1M"), measure("s9/disk/10M", "disk, 10M"), measure("s9/disk/50M", "disk, 50M"),
        ],
        bars: &[most("s9/heap/50M", Number(1.0), 40.0, "40 octets of heap, 50M")],
    },
    Row {
        name: "s10", title: "S10 · octets written for each of key and payload, 256 tasks", unit: Unit::Ratio,
        measures: &[
            measure("s10/cycles/device", "the device's counter"), measure("s10/cycles/log", "the log alone"),
            measure("s10/cycles/zeroing", "zeroing ahead"), measure("s10/cycles/tree and the rest", "tree, file system"),
            measure("s10/steady/device", "the device's counter, as much expiring as is written"),
            measure("s10/steady/log", "the log alone, likewise"), measure("s10/steady/zeroing", "zeroing ahead, likewise"),
            measure("s10/steady/tree and the rest", "tree, file system, likewise"),
        ],
        bars: &[
            most("s10/cycles/log", Number(1.0), 1.5, "1.5, the log alone"),
            most("s10/cycles/device", Number(1.0), 2.5, "2.5, with tree and zeroing"),
            most("s10/steady/device", Number(1.0), 2.5, "2.5, with tree and zeroing, as much expiring as is written"),
        ],
    },
    Row {
        name: "s11", title: "S11 · middleware, processor time of a request beyond a bare app's", unit: Unit::Microseconds,
        measures: &[
            measure("s11/no key", "no key"), measure("s11/replay", "a replay"), measure("s11/fresh", "fresh, `Durability::Buffered`"),
        ],
        bars: &[
            most("s11/no key", Number(1.0), 1.0, "1 µs without a key"),
            most("s11/replay", Peer("idempotent", "s11/replay"), 1.0, "a replay of `idempotent`"),
        ],
    },
];

/// The columns of the table, in their order.
pub(crate) const PEERS: &[(&str, &str)] = &[
    ("onceward", "onceward"),
    ("floor", "floor"),
    ("lmdb", "LMDB"),
    ("redb", "redb"),
    ("redb-quick", "redb, quick repair"),
    ("rocksdb", "RocksDB"),
    ("rocksdb-batched", "RocksDB, batched"),
    ("fjall", "fjall"),
    ("sqlite", "SQLite"),
    ("redis", "Redis"),
    ("postgres", "PostgreSQL"),
    ("postgres-batched", "PostgreSQL, batched"),
    ("idempotent", "idempotent"),
];
