//! The flags of `bench`.

use std::path::PathBuf;

use clap::Args;

/// The flags of `bench`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// Directory that stands on the disk in question; all is written to a new one in it, which is
    /// removed at the end
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) data: PathBuf,
    /// Results there are while keys are looked up
    #[arg(long, value_name = "N", default_value_t = 200_000,
          value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    pub(super) records: u64,
    /// Seconds that are measured in all, shared out among the rows; making the results comes on top
    #[arg(long, value_name = "S", default_value = "15", value_parser = seconds)]
    pub(super) seconds: f64,
    /// As one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// More than no time, and an hour at most.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3_600.0 => Ok(seconds),
        _ => Err("write a number of seconds above 0, 3600 at most".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_positive_and_end() {
        assert_eq!((seconds("0.5"), seconds("3600")), (Ok(0.5), Ok(3600.0)));
        for wrong in ["0", "-1", "NaN", "inf", "3601", "", "5s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
