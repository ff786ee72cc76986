//! `temp-dir`: the directory in which waits what memory does not hold of a request's body.
//!
//! The files in it have no names, but where the file system cannot make such one has a name for a
//! moment; so nobody else may write there.

use std::fs::{self, DirBuilder, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// The owner's alone.
const MODE: u32 = 0o700;
/// What lets group or others write.
const WRITTEN_BY_OTHERS: u32 = 0o022;

/// Makes `directory` if there is none, and refuses it as [`check`] does.
pub(crate) fn prepare(directory: &Path) -> Result<(), String> {
    DirBuilder::new()
        .recursive(true)
        .mode(MODE)
        .create(directory)
        .map_err(|error| format!("temp-dir: {}: {error}", directory.display()))?;
    check(directory)
}

/// Refuses what is there and is no directory, or one that others may write to. Errors are in words
/// for the operator.
pub(crate) fn check(directory: &Path) -> Result<(), String> {
    let shown = directory.display();
    match fs::metadata(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("temp-dir: {shown}: {error}")),
        Ok(found) if !found.is_dir() => Err(format!("temp-dir: {shown} is not a directory")),
        Ok(found) if is_written_by_others(&found) => Err(format!(
            "temp-dir: others may write to {shown} (mode {:04o}): name a directory of mode 0700",
            found.mode() & 0o7777
        )),
        Ok(_) => Ok(()),
    }
}

fn is_written_by_others(found: &Metadata) -> bool {
    found.mode() & WRITTEN_BY_OTHERS != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_is_made_for_its_owner_and_refused_when_others_may_write_to_it() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/b");
        check(&directory).unwrap();
        assert!(!directory.exists(), "a check makes nothing");
        prepare(&directory).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o7777, 0o700);
        prepare(&directory).unwrap();
        for (mode, refused) in [(0o755, false), (0o720, true), (0o702, true), (0o1777, true)] {
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(prepare(&directory).is_err(), refused, "{mode:o}");
            assert_eq!(check(&directory).is_err(), refused, "{mode:o}");
        }
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(prepare(&file).is_err());
        assert!(check(&file).unwrap_err().contains("not a directory"));
    }
}
