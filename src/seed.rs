//! The seed of the random unit tests: fixed unless told otherwise, printed, and taken back.

/// Draws from `SEED`: a number, or `random` for a fresh one. Without it every run draws the same, so
/// that a run cannot fail by the luck of a draw.
pub(crate) fn rng() -> fastrand::Rng {
    let seed = match std::env::var("SEED").as_deref() {
        Ok("random") => fastrand::u64(..),
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => 20_260_101,
    };
    println!("SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
