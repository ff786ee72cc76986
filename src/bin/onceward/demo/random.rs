//! Random names: keys, ids, a directory's.

use crate::Failure;
use crate::gateway::hex;

/// `N` random octets.
fn octets<const N: usize>() -> Result<[u8; N], Failure> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets)
        .map_err(|error| Failure::Failed(format!("the system gives no randomness: {error}")))?;
    Ok(octets)
}

/// `prefix` and twelve random digits.
pub(crate) fn named(prefix: &str) -> Result<String, Failure> {
    Ok(format!("{prefix}{}", hex(&octets::<6>()?)))
}

/// A UUID of version 4.
pub(crate) fn uuid() -> Result<String, Failure> {
    let mut octets = octets::<16>()?;
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut octets;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    let digits = hex(&octets);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    Ok([part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_of_version_4_and_not_the_last_one() {
        let (one, other) = (uuid().unwrap(), uuid().unwrap());
        assert_ne!(one, other);
        for uuid in [one, other] {
            let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{uuid}");
            assert_eq!(&uuid[14..15], "4", "{uuid}");
            assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "{uuid}");
        }
    }
}
