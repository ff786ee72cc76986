//! Any octets as the configuration file: read without a panic, refused in words, or taken; and what
//! is taken is shown as a file that is read as the same again.
//!
//! The fuzz target `config` and the test that replays its seeds both come in here.

use std::ffi::OsString;
use std::path::Path;

use super::file::Table;
use super::sources::Sources;
use super::{Effective, NAMES, Settings};
use crate::args::ServeArgs;

/// Reads `octets` as the file of `serve`, without flags or variables.
pub(crate) fn run(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    // Whatever file it names would be read, a device that never ends too.
    if text.contains("token") {
        return;
    }
    let Some((settings, effective)) = read(text) else { return };
    let shown: String = effective
        .iter()
        .filter_map(|Effective { key, value, .. }| Some(format!("{key} = {}\n", value.as_ref()?)))
        .collect();
    // A profile of the file's own is not among them.
    let tables = ["profiles", "route"];
    let Ok(table) = Table::parse(Path::new("any.toml"), text) else { return };
    if tables.iter().any(|name| table.get(name).is_some()) {
        return;
    }
    let Some((again, _)) = read(&shown) else { panic!("what is in effect is refused: {shown}") };
    assert_eq!(again.choice.profile(), settings.choice.profile(), "{shown}");
    assert_eq!(again.choice.refresh, settings.choice.refresh, "{shown}");
    // Where each field of a profile was set is another place now.
    assert_eq!(Settings { choice: settings.choice.clone(), ..again }, settings, "{shown}");
}

/// The settings in `text`, and what is in effect; `None` when it is refused.
fn read(text: &str) -> Option<(Settings, Vec<Effective>)> {
    let nothing = |_: &str| None::<OsString>;
    let read = Table::parse(Path::new("any.toml"), text)
        .and_then(|table| Sources::of(table, &nothing, NAMES))
        .and_then(|from| Settings::read(from, ServeArgs::default()));
    match read {
        Ok(taken) => Some(taken),
        Err(why) => {
            assert!(!why.is_empty(), "a refusal says why");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::run;

    #[test]
    fn configuration_files_of_the_seeds() {
        let seeds =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join("config");
        let mut files: Vec<_> =
            std::fs::read_dir(&seeds).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{} is empty", seeds.display());
        for file in files {
            let octets = std::fs::read(&file).unwrap();
            let ran = std::panic::catch_unwind(|| run(&octets));
            assert!(ran.is_ok(), "{}", file.display());
        }
    }
}
