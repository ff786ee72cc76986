//! Where the benchmark writes: a directory of its own in the one it was given, gone at the end.

use std::fs::{self, DirBuilder};
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::demo::random;

/// A directory of the benchmark's own.
pub(super) struct Place(PathBuf);

impl Place {
    /// A new directory in `parent`, on whose disk there is room for `octets`.
    ///
    /// # Errors
    /// Usage: `parent` is no directory. Failed: it may not be written, or there is no room.
    pub(super) fn new(parent: &Path, octets: u64) -> Result<Self, Failure> {
        if !parent.is_dir() {
            return Err(Failure::Usage(format!("there is no directory {}", parent.display())));
        }
        let place = parent.join(random::named("onceward-bench-")?);
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&place).map_err(|error| {
            Failure::Failed(format!("{} cannot be written: {error}", parent.display()))
        })?;
        let place = Self(place);
        enough(parent, free(&place.0)?, octets).map(|()| place)
    }

    /// A path in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("onceward: {} could not be removed: {error}", self.0.display());
        }
    }
}

/// Octets that may still be written to the disk of `directory`.
#[cfg(unix)]
fn free(directory: &Path) -> Result<u64, Failure> {
    let disk = rustix::fs::statvfs(directory)
        .map_err(|error| Failure::Failed(format!("{}: {error}", directory.display())))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whoever writes is told, where nobody can be asked before.
#[cfg(not(unix))]
fn free(_: &Path) -> Result<u64, Failure> {
    Ok(u64::MAX)
}

fn enough(parent: &Path, free: u64, wanted: u64) -> Result<(), Failure> {
    if free >= wanted {
        return Ok(());
    }
    let mib = |octets: u64| octets.div_ceil(1 << 20);
    Err(Failure::Failed(format!(
        "the disk of {} has {} MiB left, and the benchmark takes up to {} MiB: give it another \
         directory, fewer records or fewer seconds",
        parent.display(),
        free >> 20,
        mib(wanted),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_refused_and_nothing_stays() {
        let parent = tempfile::tempdir().unwrap();
        let Err(Failure::Failed(why)) = Place::new(parent.path(), u64::MAX) else {
            panic!("there is no such disk");
        };
        assert!(why.contains("MiB left"), "{why}");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_directory_goes_with_what_is_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let place = Place::new(parent.path(), 1).unwrap();
        fs::write(place.join("file"), "text").unwrap();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
        drop(place);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
