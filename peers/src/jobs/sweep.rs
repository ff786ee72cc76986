//! Sweeps of what has expired among what lives.

use std::path::Path;
use std::time::{Duration, Instant};

use super::tell;
use crate::args::Args;
use crate::job::Peer;
use crate::machine;
use crate::work::{BEGUN_MS, FAR_MS, SOON_MS};

/// Between the expiry of one part and that of the next, in milliseconds.
const APART_MS: u64 = 30 * 60 * 1000;
/// Between the expiry of a part and its sweep: a bucket of expiry of onceward's, which goes as a whole
/// and is a quarter of an hour wide at a retention of a day, is over by then.
const AFTER_MS: u64 = 20 * 60 * 1000;

/// For how long the file system must have got nothing back until it is held to have all.
const STILL: Duration = Duration::from_secs(1);
/// How much at least is got back at a time; whatever else goes on there moves less.
const LITTLE: u64 = 256 << 10;

/// Waits until what the file system has in use falls no more; how far it has fallen since it was
/// `before`, and when that was reached.
fn given_back(directory: &Path, before: u64) -> Option<(u64, Instant)> {
    let (mut least, mut reached) = (before, None);
    let mut looked = Instant::now();
    while looked.elapsed() < STILL {
        let now = machine::in_use(directory);
        if now + LITTLE <= least {
            looked = Instant::now();
            (least, reached) = (now, Some(looked));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    reached.map(|reached| (before - least, reached))
}

/// Several parts expire, one after another, and each is swept on its own: every sweep is one sample.
pub(crate) fn measure<P: Peer>(args: &Args) {
    let setup = args.setup();
    let (parts, expiring, live) =
        (args.number("parts", 5), args.number("expiring", 0), args.number::<u64>("live", 0));
    let name = args.text("name", "s6/sweep");
    let peer = P::open(&setup);
    let expiry = |part: u64| SOON_MS + part * APART_MS;
    // A server whose clock nobody can move has each part only when it is to go.
    let at_once = args.text("peer", "") != "redis";
    // What expires first was written first.
    for part in 0..parts {
        if at_once {
            peer.fill(part * expiring..(part + 1) * expiring, expiry(part));
        }
    }
    peer.fill(parts * expiring..parts * expiring + live, FAR_MS);
    peer.settle();
    machine::at_rest(&setup.directory);
    for part in 0..parts {
        if !at_once {
            peer.fill(part * expiring..(part + 1) * expiring, expiry(part));
        }
        // What was put off meanwhile takes its room now, and not while it is looked at.
        machine::at_rest(&setup.directory);
        let before = machine::in_use(&setup.directory);
        let begun = Instant::now();
        let swept = peer.sweep(expiry(part) + AFTER_MS);
        let took = begun.elapsed().as_secs_f64();
        assert_eq!(swept, expiring, "not what had expired");
        tell(&name, swept as f64 / took);
        let given_back = given_back(&setup.directory, before);
        let octets = swept as f64 * (36 + setup.length) as f64;
        let freed = given_back.map_or(0, |(freed, _)| freed);
        tell(format!("{name}/disk given back"), freed as f64 / octets);
        if let Some((_, reached)) = given_back {
            // Where it had all of it before the answer, the answer is when it ended.
            let took = (reached - begun).as_secs_f64().max(took);
            tell(format!("{name}/gone"), swept as f64 / took);
        }
    }
    debug_assert!(expiry(parts) < FAR_MS && expiry(0) > BEGUN_MS);
    peer.close();
}
