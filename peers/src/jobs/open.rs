//! Opening what another process left, until the first durable grant of a key nobody has claimed.

use std::io::Write;
use std::time::Instant;

use tokio::runtime::Handle;

use super::tell;
use crate::args::Args;
use crate::job::Peer;
use crate::work::{UNKNOWN, payload, sure, text};

/// Opens and claims; then closes in good order, or goes on working until somebody kills it.
pub(crate) fn measure<P: Peer>(args: &Args) {
    let setup = args.setup();
    let mut rng = fastrand::Rng::new();
    let mut unseen = || text(UNKNOWN + rng.u64(..UNKNOWN));
    let key = unseen();
    let begun = Instant::now();
    let peer = P::open(&setup);
    let opened = begun.elapsed();
    // What was replayed waits for the first checkpoint; asked for between the two that are timed.
    let lag = peer.figures().into_iter().find(|(name, _)| *name == "checkpoint_lag");
    let begun = Instant::now();
    let ticket = Handle::current().block_on(peer.claim(key));
    let took = opened + begun.elapsed();
    assert!(ticket.is_some(), "a key nobody has claimed was not granted");
    let name = args.text("name", "s7/open");
    tell(&name, took.as_secs_f64() * 1e3);
    if args.number("replayed", 0) == 1
        && let Some((_, lag)) = lag
    {
        tell(format!("{name}/frames"), lag);
    }
    if args.number("whole", 0) == 1 {
        peer.warm();
        tell(format!("{name}/whole"), (opened + begun.elapsed()).as_secs_f64() * 1e3);
    }
    let Some(ticket) = ticket else { return };
    Handle::current().block_on(peer.complete(key, ticket, payload(0, setup.length)));
    if args.number("hold", 0) == 0 {
        peer.close();
        return;
    }
    let peer = std::sync::Arc::new(peer);
    for task in 0..setup.tasks as u64 {
        let (peer, mut rng) = (std::sync::Arc::clone(&peer), rng.fork());
        let length = setup.length;
        tokio::spawn(async move {
            loop {
                let key = text(UNKNOWN + rng.u64(..UNKNOWN));
                if let Some(ticket) = peer.claim(key).await {
                    peer.complete(key, ticket, payload(task, length)).await;
                }
            }
        });
    }
    // It is killed while it does what it always does, and not while it reads what was there.
    peer.warm();
    tell("ready", 1.0);
    sure(std::io::stdout().flush());
    Handle::current().block_on(std::future::pending::<()>());
}
