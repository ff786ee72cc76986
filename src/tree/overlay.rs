//! A file to look at and not to touch: writes go to memory, over the file's own bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::storage::{File, Map};

/// Bytes that are copied together when one of them is written; redb's page size.
const PAGE: u64 = 4096;

/// A copy-on-write view of a file. redb repairs as it opens, so this is how a file is read with
/// redb and left alone.
pub(super) struct Overlay {
    below: Arc<dyn File>,
    state: Mutex<State>,
}

struct State {
    len: u64,
    /// Where the file below ends, as far as it shows through: what was once cut off reads as
    /// zeros when it comes back.
    visible: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl Overlay {
    pub(super) fn new(below: Arc<dyn File>) -> io::Result<Self> {
        let len = below.len()?;
        let state = State { len, visible: len, pages: BTreeMap::new() };
        Ok(Self { below, state: Mutex::new(state) })
    }

    /// Fills `out` with the bytes of the file below from `offset`, and zeros where it has none.
    fn read_below(&self, state: &State, out: &mut [u8], offset: u64) -> io::Result<()> {
        out.fill(0);
        let wanted = state.visible.saturating_sub(offset).min(out.len() as u64);
        match out.get_mut(..wanted as usize) {
            Some(out) if !out.is_empty() => self.below.read_at(out, offset),
            _ => Ok(()),
        }
    }
}

/// The page at or before `offset`, and where in it that is.
fn split(offset: u64) -> (u64, usize) {
    (offset - offset % PAGE, (offset % PAGE) as usize)
}

fn unsupported() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

impl File for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().len)
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > state.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_below(&state, out, offset)?;
        let end = offset + out.len() as u64;
        for (start, page) in state.pages.range(split(offset).0..end) {
            let skip = offset.saturating_sub(*start) as usize;
            let at = start.saturating_sub(offset) as usize;
            let (Some(page), Some(out)) = (page.get(skip..), out.get_mut(at..)) else { continue };
            for (to, from) in out.iter_mut().zip(page) {
                *to = *from;
            }
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let (mut rest, mut offset) = (bytes, offset);
        while !rest.is_empty() {
            let (start, skip) = split(offset);
            let room = (PAGE as usize - skip).min(rest.len());
            let (now, later) = rest.split_at(room);
            if !state.pages.contains_key(&start) {
                let mut page = vec![0; PAGE as usize];
                self.read_below(&state, &mut page, start)?;
                state.pages.insert(start, page.into_boxed_slice());
            }
            let page = state.pages.get_mut(&start).and_then(|page| page.get_mut(skip..skip + room));
            if let Some(page) = page {
                page.copy_from_slice(now);
            }
            rest = later;
            offset += room as u64;
            state.len = state.len.max(offset);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.len = len;
        state.visible = state.visible.min(len);
        let (last, keep) = split(len);
        state.pages.retain(|start, _| *start < len);
        if let Some(tail) = state.pages.get_mut(&last).and_then(|page| page.get_mut(keep..)) {
            tail.fill(0);
        }
        Ok(())
    }

    fn preallocate(&self, _len: u64) -> io::Result<()> {
        Err(unsupported())
    }

    fn map(&self, _len: u64) -> io::Result<Arc<dyn Map>> {
        Err(unsupported())
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").field("below", &self.below).finish_non_exhaustive()
    }
}
