//! What a power loss does to what was not synced.

use std::ops::Range;

use super::rng::Rng;

/// How one file or directory comes out of a power loss.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    keep: Keep,
    /// The piece a write is torn into, in bytes; `None` when writes arrive whole or not at all.
    grain: Option<u64>,
}

/// Which of the unsynced operations arrived.
#[derive(Clone, Copy, Debug)]
enum Keep {
    Nothing,
    Everything,
    /// The first few, the next one torn.
    Prefix(u64),
    /// Any subset, which any order of arrival comes to.
    Subset,
}

/// What became of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    Whole,
    Torn,
}

/// The power loss of a whole machine: each of its files and directories draws its own [`Loss`].
pub(super) struct Outage {
    all: Option<Keep>,
    grain: Option<u64>,
}

impl Outage {
    /// The worst for whoever did not sync.
    pub(super) fn total() -> Self {
        Self { all: Some(Keep::Nothing), grain: None }
    }

    /// Any power loss. The plain ones, where all is lost or nothing, are drawn on purpose: a
    /// random subset of many operations would hardly ever be either.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let grain = match rng.below(4) {
            0 => Some(512),
            1 => Some(8),
            2 => Some(1),
            _ => None,
        };
        Self::tearing(grain, rng)
    }

    /// Any power loss that tears writes at `grain` bytes.
    pub(super) fn tearing(grain: Option<u64>, rng: &mut Rng) -> Self {
        let all = match rng.below(8) {
            0 => Some(Keep::Nothing),
            1 => Some(Keep::Everything),
            _ => None,
        };
        Self { all, grain: grain.map(|bytes| bytes.max(1)) }
    }

    /// The loss of one file or directory with that many operations unsynced.
    pub(super) fn loss(&self, unsynced: usize, rng: &mut Rng) -> Loss {
        let keep = self.all.unwrap_or_else(|| match rng.below(8) {
            0 => Keep::Nothing,
            1 => Keep::Everything,
            2..=4 => Keep::Prefix(rng.below(unsynced as u64 + 1)),
            _ => Keep::Subset,
        });
        Loss { keep, grain: self.grain }
    }
}

impl Loss {
    /// What becomes of the unsynced operation at `index`.
    pub(super) fn fate(&self, index: u64, rng: &mut Rng) -> Fate {
        match self.keep {
            Keep::Nothing => Fate::Lost,
            Keep::Everything => Fate::Whole,
            Keep::Prefix(end) if index < end => Fate::Whole,
            Keep::Prefix(end) if index > end => Fate::Lost,
            Keep::Prefix(_) => Fate::Torn,
            Keep::Subset => match rng.below(3) {
                0 => Fate::Lost,
                1 => Fate::Whole,
                _ => Fate::Torn,
            },
        }
    }

    /// The pieces of a write of `len` bytes at `offset` that arrived: its head, its tail, or pieces
    /// here and there, cut where the disk's grain is.
    pub(super) fn pieces(&self, offset: u64, len: u64, rng: &mut Rng) -> Vec<Range<u64>> {
        let whole = offset..offset + len;
        let Some(grain) = self.grain else {
            return rng.coin().then_some(whole).into_iter().collect();
        };
        let style = rng.below(3);
        if style == 0 {
            return scattered(whole, grain, rng);
        }
        let cut = offset + rng.below(len + 1);
        let cut = (cut / grain * grain).clamp(whole.start, whole.end);
        let piece = if style == 1 { whole.start..cut } else { cut..whole.end };
        Vec::from([piece])
    }
}

/// About as many pieces as a write is scattered into at the most: a megabyte torn into bytes would
/// show no more, and take long.
const PIECES_MAX: u64 = 1024;

/// Pieces of `whole`, each by the toss of a coin, neighbours joined. A piece is one grain long, or
/// a random number of them where the write is many grains long.
fn scattered(whole: Range<u64>, grain: u64, rng: &mut Rng) -> Vec<Range<u64>> {
    let mut pieces: Vec<Range<u64>> = Vec::new();
    let grains_more = 2 * ((whole.end - whole.start) / grain / PIECES_MAX) + 1;
    let mut at = whole.start;
    while at < whole.end {
        let length = grain.saturating_mul(1 + rng.below(grains_more));
        let next = (at / grain * grain).saturating_add(length).min(whole.end);
        if rng.coin() {
            match pieces.last_mut() {
                Some(last) if last.end == at => last.end = next,
                _ => pieces.push(at..next),
            }
        }
        at = next;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_in_the_middle_of_an_operation() {
        let loss = Loss { keep: Keep::Prefix(1), grain: None };
        let fates = [0, 1, 2].map(|index| loss.fate(index, &mut Rng::new(0)));
        assert_eq!(fates, [Fate::Whole, Fate::Torn, Fate::Lost]);
    }

    #[test]
    fn a_long_write_is_scattered_into_a_bounded_number_of_pieces() {
        let rng = &mut Rng::new(0);
        let whole = 3..3 + (1 << 20);
        let pieces = scattered(whole.clone(), 1, rng);
        assert!(pieces.len() > 100 && pieces.len() < 1024, "{} pieces", pieces.len());
        assert!(pieces.windows(2).all(|pair| pair[0].end < pair[1].start), "in order, apart");
        assert!(pieces.iter().all(|piece| piece.start >= whole.start && piece.end <= whole.end));
        let kept: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
        assert!(kept > 1 << 18 && kept < 3 << 18, "about half is kept, not {kept}");
        let short = scattered(0..64, 8, rng);
        assert!(short.iter().any(|piece| piece.end - piece.start == 8), "single grains: {short:?}");
    }
}
