//! The requirements' numbers, and why some of them no suite of this kind can see.

use onceward::http::{Dialect, Profile};

/// The letters, each with its last number.
pub(crate) const LETTERS: [(char, usize); 6] =
    [('M', 18), ('G', 22), ('O', 17), ('D', 13), ('X', 15), ('C', 48)];

/// Numbers without a check, and why.
pub(crate) const UNSEEN: &[(&str, &str)] = &[
    ("M13", "needs a server that is restarted: see tests/kill.rs"),
    ("G11", "about the client"),
    ("D3", "about the documentation"),
    ("D4", "a MAY; what is compared is checked by C10 to C12"),
    ("D5", "about the documentation"),
    ("D11", "about the client"),
    ("C33", "needs a server with a timeout of its own"),
    ("C36", "needs a store that is full or failing"),
    ("C44", "needs a clock that jumps"),
    ("C45", "needs a second process on the store"),
    ("C48", "needs a store under pressure"),
];

/// All numbers, in order.
pub(crate) fn all() -> impl Iterator<Item = String> {
    LETTERS.into_iter().flat_map(|(letter, last)| (1..=last).map(move |n| format!("{letter}{n}")))
}

/// Whether a number's letter is about this profile. M, G and O are documents of their own, which
/// G's follows the draft in.
pub(crate) fn concerns(profile: &Profile, number: &str) -> bool {
    let draft = profile.dialect == Dialect::Problem;
    match number.chars().next() {
        Some('M') => profile.dialect == Dialect::ManagedDev,
        Some('O') => profile.dialect == Dialect::Oec,
        Some('G' | 'D') => draft,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::checks;
    use super::*;

    #[test]
    fn every_number_has_a_check_or_a_reason() {
        let checked: Vec<&str> =
            checks::all().iter().flat_map(|check| check.numbers).copied().collect();
        for number in all() {
            let seen = checked.contains(&number.as_str());
            let unseen = UNSEEN.iter().any(|(unseen, _)| *unseen == number);
            assert!(seen || unseen, "{number} has neither");
            assert!(!(seen && unseen), "{number} has both");
        }
        for number in checked {
            assert!(all().any(|known| known == number), "{number} is no requirement");
        }
    }
}
