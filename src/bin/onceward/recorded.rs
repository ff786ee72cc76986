//! What a store was last run under: the file `GATEWAY` in its directory.
//!
//! A record is found by its scope and compared by its fingerprint, and both are hashes: whoever
//! changes what goes into them loses every record without an error, and a client's retry is
//! executed a second time, or is refused as another request. So the gateway writes down what goes
//! into them, and refuses a store that was run under something else until it is told that this is
//! meant (`--accept-change`).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use http::Method;
use onceward::http::{Canonical, Mismatch, Profile};

use crate::config::fields::{self, key};
use crate::config::{Choice, Rule, Settings};

/// The file's name in the store's directory.
const NAME: &str = "GATEWAY";
/// Its name until it is whole.
const TEMPORARY: &str = "GATEWAY.new";
/// Its first line. Another is another layout, and is not read.
const HEADING: &str = "onceward gateway 1";

/// What goes into scopes and fingerprints under `settings`, in lines.
pub(crate) fn of(settings: &Settings) -> String {
    let Choice { main, rules, .. } = &settings.choice;
    let mut text = format!("{HEADING}\nprincipal: {}\n", settings.principal);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "profile {}: {}", main.profile.name, meaning(&main.profile));
    // One that is like the main profile matters as long as it keeps requests from another behind it.
    let differs = |rule: &Rule| rule.protect && meaning(&rule.profile) != meaning(&main.profile);
    let last = rules.iter().rposition(differs).map_or(0, |last| last + 1);
    for rule in rules.iter().take(last).filter(|rule| rule.protect) {
        let methods: Vec<&str> = rule.methods.iter().map(Method::as_str).collect();
        let methods = if methods.is_empty() { "*".to_owned() } else { methods.join(",") };
        let (path, name, meaning) = (&rule.path, &rule.profile.name, meaning(&rule.profile));
        let _ = writeln!(text, "route {methods} {path}: {name}: {meaning}");
    }
    text
}

/// What of a profile goes into scopes and fingerprints.
fn meaning(profile: &Profile) -> String {
    let compared = if profile.mismatch == Mismatch::Replay { "no" } else { "yes" };
    let mut text = format!("compared={compared}");
    for name in fields_of(profile) {
        if let Some(field) = fields::field(name) {
            let _ = write!(text, " {}={}", key(name), (field.show)(profile));
        }
    }
    text
}

/// The fields that go into them.
fn fields_of(profile: &Profile) -> impl Iterator<Item = &'static str> {
    // A JSON body that memory does not hold is compared octet by octet.
    let by_memory = profile.canonical == Canonical::Json;
    ["scope", "query", "canonical", "fingerprint_headers"]
        .into_iter()
        .chain(by_memory.then_some("request_octets_in_memory"))
}

/// Checks that the store in `data` was run under `now` the last time, if it ever was. The error
/// says what is different.
pub(crate) fn check(data: &Path, now: &str) -> Result<(), String> {
    let path = data.join(NAME);
    let before = match read(&path) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    if before == now {
        return Ok(());
    }
    let only = |of: &str, other: &str| {
        let lines: Vec<&str> =
            of.lines().filter(|line| !other.lines().any(|line_of| line_of == *line)).collect();
        if lines.is_empty() { "nothing".to_owned() } else { format!("`{}`", lines.join("`, `")) }
    };
    Err(format!(
        "the store in {} was run with {} and is now to be run with {}: its keys would not be found, \
         or be taken for other requests, and work could be done twice. Run it as before, or say \
         once that this is meant with --accept-change",
        data.display(),
        only(&before, now),
        only(now, &before),
    ))
}

/// Writes `now` down in `data`, whole or not at all, unless it stands there.
pub(crate) fn write(data: &Path, now: &str) -> Result<(), String> {
    let (path, temporary) = (data.join(NAME), data.join(TEMPORARY));
    if read(&path).is_ok_and(|before| before == now) {
        return Ok(());
    }
    let put = || {
        let mut file = create(&temporary)?;
        file.write_all(now.as_bytes())?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, &path)?;
        sync_directory(data)
    };
    put().map_err(|error: io::Error| format!("{}: {error}", path.display()))
}

/// Reads a file of the gateway's own, by the rule of the store's: no link is followed, and what is
/// not a regular file with one name is refused. Nothing waits for the other end of a FIFO.
fn read(path: &Path) -> io::Result<String> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = fs::OpenOptions::new();
    let mut file = options.read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() > 1 {
        return Err(io::Error::other("it is not a regular file with one name"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Makes a file for the gateway's own eyes, as the store's are. One left by a start that was cut off
/// goes; what else bears the name, a link above all, is not written through.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true).create_new(true).open(path)
}

/// The new name is on disk once the directory is.
#[cfg(unix)]
fn sync_directory(data: &Path) -> io::Result<()> {
    File::open(data)?.sync_all()
}

/// Elsewhere a directory cannot be opened, and a rename is durable by itself.
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_found_and_what_differs_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = ("h\nprincipal: a\nprofile p\n", "h\nprincipal: b\nprofile p\n");
        assert_eq!(check(dir.path(), one), Ok(()), "nothing is known of a new store");
        write(dir.path(), one).unwrap();
        assert_eq!(check(dir.path(), one), Ok(()));
        let why = check(dir.path(), two).unwrap_err();
        assert!(why.contains("run with `principal: a` and"), "{why}");
        assert!(why.contains("run with `principal: b`:"), "{why}");
        fs::write(dir.path().join(TEMPORARY), "cut o").unwrap();
        write(dir.path(), two).unwrap();
        assert_eq!(check(dir.path(), two), Ok(()), "one that was cut off is in nobody's way");
        assert!(!dir.path().join(TEMPORARY).exists());
    }

    #[test]
    fn what_is_cut_off_is_not_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), "h\nprin").unwrap();
        assert!(check(dir.path(), "h\nprincipal: a\n").is_err());
    }

    #[test]
    fn only_what_goes_into_a_hash_has_a_meaning() {
        let standard = meaning(&Profile::standard());
        let mut other = Profile::standard();
        other.ttl *= 2;
        other.key_required = true;
        other.mismatch = Mismatch::Reject(http::StatusCode::CONFLICT);
        assert_eq!(meaning(&other), standard);
        assert_ne!(meaning(&Profile::oec()), standard);
        other.request_octets_in_memory /= 2;
        assert_eq!(meaning(&other), standard, "octets are octets wherever they are held");
        other.canonical = Canonical::Json;
        let json = meaning(&other);
        other.request_octets_in_memory /= 2;
        assert_ne!(meaning(&other), json, "what is JSON to the one is octets to the other");
        other.canonical = Canonical::Raw;
        other.fingerprint_headers.push(http::HeaderName::from_static("x-version"));
        assert_ne!(meaning(&other), standard);
    }
}
