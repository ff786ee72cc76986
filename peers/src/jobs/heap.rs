//! The heap a store takes for each key: what its process has beyond an empty one.

use super::tell;
use crate::args::Args;
use crate::job::Peer;
use crate::machine;
use crate::work::FAR_MS;

/// Opens what another process filled, or fills it, and looks at the process.
pub(crate) fn measure<P: Peer>(args: &Args) {
    let (setup, records): (_, u64) = (args.setup(), args.number("records", 1));
    let before = machine::anonymous();
    let peer = P::open(&setup);
    if args.number("fill", 0) == 1 {
        peer.fill(0..records, FAR_MS);
        peer.settle();
    }
    // What is still to come into memory counts.
    peer.warm();
    let after = machine::anonymous();
    let name = args.text("name", "s8/heap");
    tell(&name, after.saturating_sub(before) as f64 / records as f64);
    let index = peer.figures().into_iter().find(|(name, _)| *name == "index_bytes");
    if let Some((_, octets)) = index {
        tell(format!("{name}/index alone"), octets / records as f64);
    }
    peer.close();
}
