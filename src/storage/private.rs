//! A small file of the operator's, which its owner alone may read.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Reads a file that nobody but its owner may read or write, at most `octets_max` octets of it.
///
/// # Errors
/// `PermissionDenied`, without the number of the system's own, for a file that others may read, one
/// that is not regular, and a longer one.
pub(crate) fn read_private(path: &Path, octets_max: u64) -> io::Result<Vec<u8>> {
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if !fs::metadata(path)?.is_file() {
        // Before it is opened: to open a pipe waits for its other end.
        return refused("not a regular file");
    }
    let file = fs::File::open(path)?;
    // Of what was opened, whatever the path has come to name.
    let found = file.metadata()?;
    if !found.is_file() {
        return refused("not a regular file");
    }
    if found.mode() & 0o077 != 0 {
        return refused(
            "others than its owner may read or write it; it must have mode 0600 or less",
        );
    }
    if found.len() > octets_max {
        return refused("too long");
    }
    let mut octets = Vec::with_capacity(found.len() as usize);
    file.take(octets_max).read_to_end(&mut octets)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "secret").unwrap();
        for (mode, reads) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = read_private(&path, 100);
            assert_eq!(read.is_ok(), reads, "mode {mode:o}: {read:?}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read_private(&path, 5).is_err(), "too long");
        assert!(read_private(dir.path(), 100).is_err(), "a directory");
        assert_eq!(
            read_private(&dir.path().join("none"), 1).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
