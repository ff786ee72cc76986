//! The real disk.
//!
//! Every path is walked from a handle of the store's directory, one name at a time, so that no
//! symbolic link below it is ever followed, whoever puts one there and when. What is opened is
//! looked at before it is used: it must be a regular file with one name.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{self as sys, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::map::FileMap;
#[cfg(target_os = "linux")]
use super::map::hold_in_large_pages;
use super::{File, Lock, Map, Storage, path, preallocate};

/// A directory on the machine's own file system.
///
/// The directory is resolved once, symbolic links included, at the first operation that finds it;
/// from then on it is known by its handle, not by its path.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    opened: OnceLock<OwnedFd>,
}

impl Disk {
    /// The directory `root`, which need not exist yet. Touches nothing.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), opened: OnceLock::new() }
    }

    fn root(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(root) = self.opened.get() {
            return Ok(root.as_fd());
        }
        let named = |error: io::Error| naming(self.root.display(), &error);
        let resolved = fs::canonicalize(&self.root).map_err(named)?;
        let root = open_dir_at(sys::CWD, &resolved).map_err(|error| named(error.into()))?;
        Ok(self.opened.get_or_init(|| root).as_fd())
    }

    /// Does `work` on the directory `dir`.
    fn within<T>(
        &self,
        dir: &str,
        work: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut below: Option<OwnedFd> = None;
        for name in path::components(dir)? {
            let at = below.as_ref().map_or_else(|| self.root(), |fd| Ok(fd.as_fd()))?;
            below = Some(open_dir_at(at, name).map_err(|errno| explain(dir, errno))?);
        }
        match &below {
            Some(fd) => work(fd.as_fd()),
            None => work(self.root()?),
        }
    }

    /// Opens the file `path` with `flags` and refuses what the seam refuses.
    fn open_file(&self, path: &str, flags: OFlags) -> io::Result<fs::File> {
        let (dir, name) = path::split(path)?;
        // Opening a FIFO would wait for its other end, and a terminal could become the process's
        // own: neither, until it is known to be a regular file, for which the flags mean nothing.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.within(dir, |dir| {
            sys::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
                .map_err(|errno| explain(path, errno))
        })?;
        let file = fs::File::from(file);
        refuse_special(path, &file)?;
        Ok(file)
    }
}

impl Storage for Disk {
    /// A name that is not UTF-8 is listed with U+FFFD in it: it is nobody's here, and is not hidden.
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.within(dir, |fd| {
            let mut names = Vec::new();
            for entry in sys::Dir::read_from(fd)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy();
                if name != "." && name != ".." {
                    names.push(name.into_owned());
                }
            }
            names.sort_unstable();
            Ok(names)
        })
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        if dir.is_empty() {
            create_root(&self.root).map_err(|error| naming(self.root.display(), &error))?;
            return self.root().map(|_| ());
        }
        let (parent, name) = path::split(dir)?;
        self.within(parent, |fd| match sys::mkdirat(fd, name, Mode::RWXU) {
            // The name may be taken by something else.
            Err(Errno::EXIST) => {
                open_dir_at(fd, name).map(|_| ()).map_err(|errno| explain(dir, errno))
            }
            other => other.map_err(|errno| explain(dir, errno)),
        })
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.within(dir, sync_dir)
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = self.open_file(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        Ok(DiskFile::shared(file))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        Ok(DiskFile::shared(self.open_file(path, OFlags::RDWR)?))
    }

    fn open_read_only(&self, path: &str) -> io::Result<Arc<dyn File>> {
        Ok(DiskFile::shared(self.open_file(path, OFlags::RDONLY)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (dir, from_name, to_name) = path::split_pair(from, to)?;
        self.within(dir, |fd| {
            sys::renameat(fd, from_name, fd, to_name).map_err(|errno| explain(from, errno))
        })
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        let (dir, name) = path::split(path)?;
        self.within(dir, |fd| {
            sys::unlinkat(fd, name, AtFlags::empty()).map_err(|errno| explain(path, errno))
        })
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        DiskLock::of(path, self.open_file(path, OFlags::RDWR | OFlags::CREATE)?)
    }

    fn lock_read_only(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        DiskLock::of(path, self.open_file(path, OFlags::RDONLY)?)
    }
}

/// An open file of the disk, shared with its maps.
#[derive(Debug)]
struct DiskFile(Arc<fs::File>);

impl DiskFile {
    fn shared(file: fs::File) -> Arc<dyn File> {
        Arc::new(Self(Arc::new(file)))
    }
}

impl File for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        preallocate::extend(self, len, preallocate::write_zeros)
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self, len: u64) -> io::Result<()> {
        preallocate::extend(self, len, |file, from, to| match fallocate(&self.0, from, to) {
            Err(errno) if would_fail_with_zeros(errno) => Err(errno.into()),
            Err(_) => preallocate::write_zeros(file, from, to),
            Ok(()) => {
                if is_ext4(&self.0) {
                    hold_in_large_pages(&self.0, from..to);
                }
                Ok(())
            }
        })
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Map>> {
        Ok(Arc::new(FileMap::new(Arc::clone(&self.0), len)?))
    }
}

/// The lock lives as long as the open file: the kernel drops it with the last handle.
#[derive(Debug)]
struct DiskLock {
    _file: fs::File,
}

impl DiskLock {
    fn of(path: &str, file: fs::File) -> io::Result<Box<dyn Lock>> {
        sys::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| naming(path, &errno.into()))?;
        Ok(Box::new(Self { _file: file }))
    }
}

impl Lock for DiskLock {}

fn open_dir_at<P: rustix::path::Arg>(at: BorrowedFd<'_>, name: P) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    sys::openat(at, name, flags, Mode::empty())
}

/// Whether what refused to set blocks aside would refuse to write zeros there, too. Whatever else it
/// was is about the call alone: a file system that does not know it, or a filter of calls.
#[cfg(target_os = "linux")]
fn would_fail_with_zeros(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO)
}

/// Whether the file is on ext4 (or on what bears its number, ext2 and ext3). On XFS, Linux before 6.6
/// writes all of a large page that is in memory for one octet of it that changed.
#[cfg(target_os = "linux")]
fn is_ext4(file: &fs::File) -> bool {
    const EXT4: sys::FsWord = 0xEF53;
    sys::fstatfs(file).is_ok_and(|about| about.f_type == EXT4)
}

/// Sets blocks aside for `from..to`, which read as zeros until they are written.
#[cfg(target_os = "linux")]
fn fallocate(file: &fs::File, from: u64, to: u64) -> Result<(), Errno> {
    loop {
        match sys::fallocate(file, sys::FallocateFlags::empty(), from, to - from) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// Syncs a directory. Through the standard library, which knows the platforms where a plain `fsync`
/// stops at the drive's cache.
fn sync_dir(dir: BorrowedFd<'_>) -> io::Result<()> {
    fs::File::from(dir.try_clone_to_owned()?).sync_all()
}

/// Refuses what is not a regular file, and one that has a second name: somebody outside the
/// directory could read or change it through that.
fn refuse_special(path: &str, file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let found = file.metadata()?;
    if !found.file_type().is_file() {
        return Err(refusal(io::ErrorKind::InvalidInput, path, "not a regular file"));
    }
    if found.nlink() > 1 {
        return Err(refusal(io::ErrorKind::PermissionDenied, path, "it has a second hard link"));
    }
    Ok(())
}

/// Creates the directory `root` and its missing parents, mode 0700, and makes each durable in the
/// directory it stands in.
///
/// One that stands already may be the work of a process killed before its sync, so its own entry is
/// synced as well; but only its own, because each is synced before the next is made. Where that is
/// not allowed the entry is somebody else's, and older.
fn create_root(root: &Path) -> io::Result<()> {
    match fs::canonicalize(root) {
        Ok(resolved) => match resolved.parent().map_or(Ok(()), sync_path) {
            Err(error) if !is_not_ours(&error) => Err(error),
            _ => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = match root.parent() {
                Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
                Some(parent) => parent,
                None => return Err(error),
            };
            create_root(parent)?;
            match fs::DirBuilder::new().mode(0o700).create(root) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => sync_path(parent),
            }
        }
        Err(error) => Err(error),
    }
}

fn sync_path(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// Whether a directory refuses to be synced because this user may not read it or nobody may write
/// there.
fn is_not_ours(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// The error for `path`, with what the seam refuses said in words.
fn explain(path: &str, errno: Errno) -> io::Error {
    match errno {
        Errno::LOOP => refusal(
            io::ErrorKind::PermissionDenied,
            path,
            "it is a symbolic link, and none is followed",
        ),
        // What an open for a directory says to a symbolic link, too.
        Errno::NOTDIR => refusal(
            io::ErrorKind::InvalidInput,
            path,
            "a part of it is not a directory, or is a symbolic link, and none is followed",
        ),
        // A socket, or a device without a driver.
        Errno::ISDIR | Errno::NXIO | Errno::NODEV => {
            refusal(io::ErrorKind::InvalidInput, path, "not a regular file")
        }
        other => naming(path, &other.into()),
    }
}

fn refusal(kind: io::ErrorKind, path: &str, why: &str) -> io::Error {
    io::Error::new(kind, format!("{path}: {why}"))
}

/// `error`, of the same kind, naming what it is about.
fn naming(path: impl fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn store() -> (tempfile::TempDir, PathBuf, Disk) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let disk = Disk::new(&root);
        disk.create_dir("").unwrap();
        (dir, root, disk)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_what_zeros_would_meet_too_refuses_room() {
        assert!([Errno::NOSPC, Errno::DQUOT, Errno::IO].into_iter().all(would_fail_with_zeros));
        let others = [Errno::OPNOTSUPP, Errno::NOSYS, Errno::PERM, Errno::INVAL];
        assert!(!others.into_iter().any(would_fail_with_zeros));
    }

    /// The kind of error every way to open `path` ends with; it names where on the path it met it.
    fn refused(disk: &Disk, path: &str) -> io::ErrorKind {
        let error = disk.open(path).unwrap_err();
        let first = path.split('/').next().unwrap();
        assert!(error.to_string().contains(first), "{error}");
        assert_eq!(disk.open_read_only(path).unwrap_err().kind(), error.kind());
        assert_eq!(disk.lock(path).unwrap_err().kind(), error.kind());
        error.kind()
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let (dir, root, disk) = store();
        let outside = dir.path().join("outside");
        fs::write(&outside, b"theirs").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        symlink(dir.path().join("none"), root.join("dangling")).unwrap();
        assert_eq!(refused(&disk, "link"), io::ErrorKind::PermissionDenied);
        assert_eq!(refused(&disk, "dangling"), io::ErrorKind::PermissionDenied);
        assert_eq!(disk.create("link").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(disk.create("dangling").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&outside).unwrap(), b"theirs");
        assert!(!dir.path().join("none").exists());
    }

    #[test]
    fn a_symbolic_link_among_the_directories_is_not_followed() {
        let (dir, root, disk) = store();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("f"), b"theirs").unwrap();
        symlink(&outside, root.join("d")).unwrap();
        assert_eq!(refused(&disk, "d/f"), io::ErrorKind::InvalidInput);
        for result in [
            disk.create("d/g").map(drop),
            disk.create_dir("d"),
            disk.create_dir("d/e"),
            disk.list("d").map(drop),
            disk.sync_dir("d"),
            disk.rename("d/f", "d/g"),
            disk.unlink("d/f"),
        ] {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        let names: Vec<_> = fs::read_dir(&outside).unwrap().collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn a_link_that_is_renamed_or_removed_takes_nothing_with_it() {
        let (dir, root, disk) = store();
        let outside = dir.path().join("outside");
        fs::write(&outside, b"theirs").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        disk.create("f").unwrap().write_at(b"ours", 0).unwrap();
        disk.rename("f", "link").unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"theirs");
        assert!(fs::symlink_metadata(root.join("link")).unwrap().is_file());
        symlink(&outside, root.join("link2")).unwrap();
        disk.unlink("link2").unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"theirs");
    }

    #[test]
    fn the_root_may_be_a_link_and_is_resolved_once() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        fs::create_dir(&first).unwrap();
        fs::create_dir(&second).unwrap();
        let link = dir.path().join("link");
        symlink(&first, &link).unwrap();
        let disk = Disk::new(&link);
        disk.create("a").unwrap();
        fs::remove_file(&link).unwrap();
        symlink(&second, &link).unwrap();
        disk.create("b").unwrap();
        assert_eq!(disk.list("").unwrap(), ["a", "b"]);
        assert_eq!(fs::read_dir(&second).unwrap().count(), 0);
    }

    #[test]
    fn a_root_that_is_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        fs::write(&root, b"theirs").unwrap();
        let disk = Disk::new(&root);
        assert_eq!(disk.create_dir("").unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert!(disk.create("f").is_err());
        assert_eq!(fs::read(&root).unwrap(), b"theirs");
    }

    #[test]
    fn the_root_is_created_with_its_parents_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b/c");
        Disk::new(&root).create_dir("").unwrap();
        for path in ["a", "a/b", "a/b/c"] {
            let mode = fs::metadata(dir.path().join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{path}");
        }
    }

    #[test]
    fn a_second_hard_link_is_refused_until_it_is_gone() {
        let (dir, root, disk) = store();
        disk.create("f").unwrap();
        let other = dir.path().join("other");
        fs::hard_link(root.join("f"), &other).unwrap();
        assert_eq!(refused(&disk, "f"), io::ErrorKind::PermissionDenied);
        fs::remove_file(&other).unwrap();
        disk.open("f").unwrap();
    }

    #[test]
    fn a_fifo_is_refused_without_waiting_for_its_other_end() {
        let (_dir, root, disk) = store();
        let fifo = root.join("f");
        sys::mknodat(sys::CWD, &fifo, sys::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(refused(&disk, "f"), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_socket_is_refused() {
        let (_dir, root, disk) = store();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("s")).unwrap();
        assert_eq!(refused(&disk, "s"), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn files_and_directories_are_for_the_owner_alone() {
        let (_dir, root, disk) = store();
        disk.create_dir("d").unwrap();
        disk.create("d/f").unwrap();
        let _lock = disk.lock("LOCK").unwrap();
        let mode = |path: &str| fs::metadata(root.join(path)).unwrap().mode() & 0o7777;
        assert_eq!(mode("d"), 0o700);
        assert_eq!(mode("d/f"), 0o600);
        assert_eq!(mode("LOCK"), 0o600);
    }

    #[test]
    fn a_lock_is_seen_by_another_handle_of_the_directory() {
        let (_dir, root, disk) = store();
        let lock = disk.lock("LOCK").unwrap();
        let other = Disk::new(&root);
        let error = other.lock("LOCK").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(error.to_string().contains("LOCK"), "{error}");
        drop(lock);
        other.lock("LOCK").unwrap();
    }

    #[test]
    fn a_name_that_is_not_text_is_listed_all_the_same() {
        use std::os::unix::ffi::OsStrExt;
        let (_dir, root, disk) = store();
        fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff")), b"").unwrap();
        assert_eq!(disk.list("").unwrap(), ["\u{fffd}"]);
    }

    #[test]
    fn what_is_preallocated_takes_its_blocks_at_once() {
        let (_dir, root, disk) = store();
        let file = disk.create("f").unwrap();
        file.preallocate(3 << 20).unwrap();
        let found = fs::metadata(root.join("f")).unwrap();
        assert_eq!(found.len(), 3 << 20);
        assert!(found.blocks() * 512 >= 3 << 20, "{} blocks", found.blocks());
    }

    #[test]
    fn what_is_allocated_takes_its_blocks_at_once_too() {
        let (_dir, root, disk) = store();
        let file = disk.create("f").unwrap();
        file.write_at(&[7; 5000], 0).unwrap();
        // Of large pages there is none, a part, and one whole one.
        for len in [6000, 3 << 20, 6 << 20] {
            file.allocate(len).unwrap();
            let found = fs::metadata(root.join("f")).unwrap();
            assert_eq!(found.len(), len);
            assert!(found.blocks() * 512 >= len, "{} blocks", found.blocks());
        }
        file.write_at(&[8; 5000], 5 << 20).unwrap();
        file.sync().unwrap();
        let map = file.map(6 << 20).unwrap();
        assert!(map.view(0..5000).unwrap().iter().all(|&byte| byte == 7));
        assert!(map.view(5 << 20..(5 << 20) + 5000).unwrap().iter().all(|&byte| byte == 8));
        let zeros = map.view(5000..5 << 20).unwrap();
        assert!(zeros.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_full_disk_is_told_apart_even_when_cutting_back_fails_too() {
        // A device stands in for a full disk: its writes fail with `ENOSPC`, and it has no length.
        let full = fs::OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
        let error = DiskFile(Arc::new(full)).preallocate(4096).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_map_borrows_and_its_bytes_are_not_copied() {
        let (_dir, _root, disk) = store();
        let file = disk.create("f").unwrap();
        file.write_at(&[1; 8192], 0).unwrap();
        let map = file.map(8192).unwrap();
        let view = map.view(100..200).unwrap();
        assert!(matches!(view, std::borrow::Cow::Borrowed(_)));
        let bytes = Arc::clone(&map).bytes(100..200).unwrap();
        assert_eq!(bytes.as_ptr(), view.as_ptr());
        file.write_at(&[2], 150).unwrap();
        assert_eq!(bytes[50], 2, "the map is the file");
    }
}
