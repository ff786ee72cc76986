//! Sweeps of what has expired among what lives.

use std::time::Instant;

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
        let before = machine::disk(&setup.directory);
        let begun = Instant::now();
        let swept = peer.sweep(expiry(part) + AFTER_MS);
        let took = begun.elapsed().as_secs_f64();
        assert_eq!(swept, expiring, "not what had expired");
        tell(&name, swept as f64 / took);
        let freed = before.saturating_sub(machine::disk(&setup.directory));
        let octets = swept as f64 * (36 + setup.length) as f64;
        tell(format!("{name}/disk given back"), freed as f64 / octets);
    }
    debug_assert!(expiry(parts) < FAR_MS && expiry(0) > BEGUN_MS);
    peer.close();
}
