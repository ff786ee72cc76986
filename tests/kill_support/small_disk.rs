//! A disk that is full before long.

use std::fs::File;
use std::path::Path;
use std::process::Command;

/// A file system of 8 MiB in memory, gone when this is dropped.
pub(crate) struct SmallDisk {
    mounted: tempfile::TempDir,
}

impl SmallDisk {
    pub(crate) fn mount() -> Self {
        let mounted = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "onceward-test"])
            .arg(mounted.path())
            .output()
            .unwrap();
        let why = String::from_utf8_lossy(&mount.stderr);
        assert!(mount.status.success(), "this test mounts a small disk, which takes root: {why}");
        Self { mounted }
    }

    pub(crate) fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// Takes what is left of the disk for the file `name`, made anew.
    pub(crate) fn fill(&self, name: &str) -> File {
        let mut file = File::create(self.path().join(name)).unwrap();
        let full = std::io::copy(&mut std::io::repeat(1), &mut file).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        file
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that a failed test left may still be on it.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
