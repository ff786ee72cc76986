//! How much is measured.

use std::path::PathBuf;
use std::time::Duration;

use crate::work::{sure, there};

/// Rows that take long, and are measured when they are named.
const NAMED: [&str; 3] = ["long", "s9", "tight"];

#[derive(Clone, Debug)]
pub(crate) struct Scale {
    /// The rows that are wanted; all but those of [`NAMED`] when none is named.
    pub(crate) rows: Vec<String>,
    /// The peers that are wanted, onceward and the floor always; all when none is named.
    pub(crate) peers: Option<Vec<String>>,
    pub(crate) quick: bool,
    /// Goes on with what a run that was broken off has.
    pub(crate) resume: bool,
    pub(crate) directory: PathBuf,
    /// Begins nothing new when so much time has passed.
    pub(crate) budget: Duration,
    /// Samples of each figure.
    pub(crate) rounds: usize,
    /// Records of the lookups, and those that live during a sweep.
    pub(crate) records: u64,
    /// The most records of the rows that ask how cost grows.
    pub(crate) records_max: u64,
    /// Lookups of a thread for one sample.
    pub(crate) lookups: u64,
    /// Seconds of cycles for one sample.
    pub(crate) seconds: f64,
    /// Seconds of the long cycles, of which there is one sample.
    pub(crate) long: f64,
    /// Cycles of which each is timed alone.
    pub(crate) alone: u64,
    /// Cycles whose octets are counted.
    pub(crate) counted: u64,
    /// Seconds of cycles after which as much expires as is written, before octets are counted.
    pub(crate) steady: f64,
    /// Cycles of a sample of a store that has grown.
    pub(crate) grown: u64,
    /// Requests of a sample of the middleware.
    pub(crate) requests: u64,
}

impl Scale {
    fn full() -> Self {
        Self {
            rows: Vec::new(),
            peers: None,
            quick: false,
            resume: false,
            directory: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/peers-data"),
            budget: Duration::MAX,
            rounds: 5,
            records: 4_000_000,
            records_max: 10_000_000,
            lookups: 1_000_000,
            seconds: 5.0,
            long: 60.0,
            alone: 3000,
            counted: 500_000,
            steady: 15.0,
            grown: 300_000,
            requests: 100_000,
        }
    }

    fn quick() -> Self {
        Self {
            quick: true,
            rounds: 3,
            records: 200_000,
            records_max: 200_000,
            lookups: 200_000,
            seconds: 0.7,
            long: 3.0,
            alone: 300,
            counted: 30_000,
            steady: 6.0,
            grown: 20_000,
            requests: 20_000,
            ..Self::full()
        }
    }

    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Self {
        let arguments: Vec<String> = arguments.collect();
        let quick = arguments.iter().any(|argument| argument == "--quick");
        let mut scale = if quick { Self::quick() } else { Self::full() };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || there(arguments.next(), "a value is missing");
            match argument.as_str() {
                "--quick" => {}
                "--resume" => scale.resume = true,
                "--peers" => {
                    scale.peers = Some(value().split(',').map(str::to_owned).collect());
                }
                "--records" => {
                    scale.records = sure(value().parse());
                    scale.records_max = scale.records;
                }
                "--rounds" => scale.rounds = sure(value().parse()),
                "--seconds" => scale.seconds = sure(value().parse()),
                "--long" => scale.long = sure(value().parse()),
                "--budget" => scale.budget = Duration::from_secs(sure(value().parse())),
                "--dir" => scale.directory = PathBuf::from(value()),
                row if !row.starts_with('-') => scale.rows.push(row.to_owned()),
                other => panic!("there is no option called {other}"),
            }
        }
        scale
    }

    pub(crate) fn wants(&self, row: &str) -> bool {
        if self.rows.is_empty() {
            !NAMED.contains(&row)
        } else {
            self.rows.iter().any(|wanted| wanted == row)
        }
    }

    /// Whether `peer` is measured, where it is built in.
    pub(crate) fn wants_peer(&self, peer: &str) -> bool {
        match &self.peers {
            None => true,
            Some(wanted) => {
                matches!(peer, "onceward" | "floor") || wanted.iter().any(|name| name == peer)
            }
        }
    }

    /// Those of `peers` that are wanted and built in.
    pub(crate) fn among(&self, peers: &[&'static str]) -> Vec<&'static str> {
        let wanted = |peer: &&&str| self.wants_peer(peer);
        let built = |peer: &&&str| cfg!(feature = "rocksdb") || !peer.starts_with("rocksdb");
        peers.iter().filter(built).filter(wanted).copied().collect()
    }
}
