//! What of a request's body memory does not hold: a temporary file without a name (C13).
//!
//! Nobody else can open it, and it is gone when it is closed, by whatever end. All that touches it
//! runs on the threads that may block.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::body::BoxError;

/// How much is written, or read, in one go, in octets.
const CHUNK_OCTETS: usize = 128 << 10;
/// How many names are tried where a file cannot be made without one.
const NAMES_MAX: u32 = 16;

/// A file that is being written.
pub(crate) struct Spool {
    file: Arc<File>,
    written: u64,
    /// What is not written yet.
    pending: BytesMut,
}

impl Spool {
    /// A new file in `directory`.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) async fn create(directory: PathBuf) -> io::Result<Self> {
        let file = blocking(move || unnamed(&directory)).await?;
        Ok(Self::over(file))
    }

    fn over(file: File) -> Self {
        Self { file: Arc::new(file), written: 0, pending: BytesMut::new() }
    }

    /// How many octets it was given.
    pub(crate) fn len(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Adds `octets`.
    ///
    /// # Errors
    /// What the file system says; the file is of no use then.
    pub(crate) async fn push(&mut self, octets: Bytes) -> io::Result<()> {
        if self.pending.is_empty() && octets.len() >= CHUNK_OCTETS {
            return self.write(octets).await;
        }
        self.pending.extend_from_slice(&octets);
        if self.pending.len() >= CHUNK_OCTETS {
            let chunk = self.pending.split().freeze();
            self.write(chunk).await?;
        }
        Ok(())
    }

    /// Writes what is left, and gives the file to read.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) async fn finish(mut self) -> io::Result<Spooled> {
        let rest = self.pending.split().freeze();
        self.write(rest).await?;
        let runtime = Handle::current();
        Ok(Spooled { file: self.file, at: 0, end: self.written, runtime, reading: None })
    }

    async fn write(&mut self, octets: Bytes) -> io::Result<()> {
        if octets.is_empty() {
            return Ok(());
        }
        let (file, at) = (Arc::clone(&self.file), self.written);
        self.written += octets.len() as u64;
        blocking(move || file.write_all_at(&octets, at)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// A new file in `directory` that only this process can reach.
fn unnamed(directory: &Path) -> io::Result<File> {
    match without_name(directory) {
        // This file system, or this kernel, has no files without a name.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => name_removed(directory),
        made => Ok(made?),
    }
}

#[cfg(target_os = "linux")]
fn without_name(directory: &Path) -> Result<File, Errno> {
    use rustix::fs::{Mode, OFlags, open};
    // With O_EXCL it cannot be given a name later.
    let flags = OFlags::TMPFILE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    open(directory, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

#[cfg(not(target_os = "linux"))]
fn without_name(_directory: &Path) -> Result<File, Errno> {
    Err(Errno::OPNOTSUPP)
}

/// A new file whose name is removed at once. A name that is there already, a link above all, is
/// never opened.
fn name_removed(directory: &Path) -> io::Result<File> {
    for _ in 0..NAMES_MAX {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let path = directory.join(format!(".onceward-{:016x}", u64::from_le_bytes(random)));
        let mut options = std::fs::OpenOptions::new();
        match options.read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return std::fs::remove_file(&path).map(|()| file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// A file that was written, as a body of known length.
pub(crate) struct Spooled {
    file: Arc<File>,
    at: u64,
    end: u64,
    runtime: Handle,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl HttpBody for Spooled {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.is_end_stream() {
            return Poll::Ready(None);
        }
        let (at, end, file) = (this.at, this.end, &this.file);
        let reading = this.reading.get_or_insert_with(|| {
            let file = Arc::clone(file);
            this.runtime.spawn_blocking(move || read(&file, at, end))
        });
        let read = ready!(Pin::new(reading).poll(cx));
        this.reading = None;
        match read.map_err(io::Error::other).and_then(std::convert::identity) {
            Ok(octets) => {
                this.at += octets.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(octets))))
            }
            Err(error) => {
                this.at = this.end;
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}

/// The octets of `file` from `at` on: a chunk, or up to `end`.
fn read(file: &File, at: u64, end: u64) -> io::Result<Bytes> {
    let octets = (end - at).min(CHUNK_OCTETS as u64);
    let mut chunk = vec![0; octets as usize];
    file.read_exact_at(&mut chunk, at)?;
    Ok(chunk.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use rustix::fs::{AtFlags, CWD, linkat};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    /// C13: neither way leaves a name behind, and nobody else may read it.
    #[test]
    fn c13_a_file_has_no_name_and_is_its_owners() {
        let directory = tempfile::tempdir().unwrap();
        for make in [unnamed, name_removed] {
            let file = make(directory.path()).unwrap();
            file.write_all_at(b"secret", 0).unwrap();
            let metadata = file.metadata().unwrap();
            assert_eq!((metadata.nlink(), metadata.mode() & 0o777, metadata.len()), (0, 0o600, 6));
            let open = format!("/proc/self/fd/{}", file.as_raw_fd());
            let named = directory.path().join("named");
            let linked = linkat(CWD, open, CWD, &named, AtFlags::SYMLINK_FOLLOW);
            assert_eq!(linked, Err(Errno::NOENT), "nor can it be given one");
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        }
        let missing = directory.path().join("missing");
        for make in [unnamed, name_removed] {
            assert_eq!(make(&missing).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[tokio::test]
    async fn c13_what_was_written_is_read_whatever_its_pieces() {
        let directory = tempfile::tempdir().unwrap();
        for sizes in [&[][..], &[1], &[CHUNK_OCTETS], &[1, 3 * CHUNK_OCTETS, 5], &[1000; 400]] {
            let mut spool = Spool::create(directory.path().to_owned()).await.unwrap();
            let mut expected = Vec::new();
            for (at, size) in sizes.iter().enumerate() {
                let piece = vec![at as u8; *size];
                expected.extend_from_slice(&piece);
                spool.push(piece.into()).await.unwrap();
                assert_eq!(spool.len(), expected.len() as u64);
                assert!(spool.pending.len() < CHUNK_OCTETS, "memory is bounded");
            }
            let body = spool.finish().await.unwrap();
            assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
            assert!(body.collect().await.unwrap().to_bytes() == expected, "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn c13_a_full_disk_is_an_error() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut spool = Spool::over(full);
        spool.push(Bytes::from_static(b"waits")).await.unwrap();
        let chunk = Bytes::from(vec![0; CHUNK_OCTETS]);
        let refused = spool.push(chunk).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    }

    #[tokio::test]
    async fn c13_a_file_that_lost_its_end_is_an_error_and_no_shorter_body() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(directory.path().to_owned()).await.unwrap();
        spool.push(Bytes::from_static(b"octets")).await.unwrap();
        let body = spool.finish().await.unwrap();
        body.file.set_len(3).unwrap();
        assert!(body.collect().await.is_err());
    }
}
