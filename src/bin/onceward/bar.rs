//! How far a long command is: a bar on standard error, where that is a terminal.

use std::io::{IsTerminal, Write};

/// How wide the bar is, in characters.
const BAR: u64 = 40;

/// How far it is, on a terminal; nothing elsewhere.
pub(crate) struct Bar {
    on: bool,
    /// What is shown.
    shown: Option<String>,
}

impl Bar {
    /// Nothing is shown yet.
    pub(crate) fn new() -> Self {
        Self { on: std::io::stderr().is_terminal(), shown: None }
    }

    /// Whether there is a terminal to show anything on.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Shows so many hundredths, and of what.
    pub(crate) fn show(&mut self, share: u64, what: &str) {
        if !self.on {
            return;
        }
        let drawn = drawn(share, what);
        if self.shown.as_ref() != Some(&drawn) {
            print(&format!("\r{drawn}\u{1b}[K"));
            self.shown = Some(drawn);
        }
    }

    /// Takes the bar away, if one is shown.
    pub(crate) fn clear(&mut self) {
        if self.shown.take().is_some() {
            print("\r\u{1b}[K");
        }
    }
}

/// A bar that cannot be drawn is no reason to end.
fn print(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn drawn(share: u64, what: &str) -> String {
    let share = share.min(100);
    let full = (share * BAR / 100) as usize;
    let empty = BAR as usize - full;
    format!("[{}{}] {share:>3}% {what}", "#".repeat(full), ".".repeat(empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_wide_at_each_share() {
        assert_eq!(drawn(0, "of it"), format!("[{}]   0% of it", ".".repeat(40)));
        let half = format!("[{}{}]  50% of it", "#".repeat(20), ".".repeat(20));
        assert_eq!(drawn(50, "of it"), half);
        assert_eq!(drawn(100, "of it"), format!("[{}] 100% of it", "#".repeat(40)));
        assert_eq!(drawn(101, "of it"), drawn(100, "of it"));
    }
}
