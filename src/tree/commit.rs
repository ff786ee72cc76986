//! How the tree gets at its file: opening it again after a fault, and changing it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::blocks::Blocks;
use super::handle::{Fault, Handle};
use super::head::{self, Head};
use super::{Access, Attempt, FILE, Tree, TreeError};
use crate::storage::File;

impl Tree {
    /// Changes blocks and directory together and replaces the head. `change` gets the directory as it
    /// is in the file, which may be that of a commit that failed, and gives the numbers of the runs
    /// that its caller may ask for again.
    pub(super) fn commit(
        &mut self,
        engine: &[u8],
        change: impl FnOnce(&mut Head, &mut Blocks<'_>) -> Result<Range<u64>, Fault>,
    ) -> Result<Range<u64>, TreeError> {
        let handle = self.ready_to_write()?;
        let mut next = Head {
            generation: self.head.generation + 1,
            engine: engine.to_vec(),
            ..self.head.clone()
        };
        let unconfirmed = self.unconfirmed.clone();
        let mut attempted = None;
        let outcome = handle.commit(|blocks| {
            for (bucket, run) in
                unconfirmed.flat_map(|run| next.remove_run(run)).collect::<Vec<_>>()
            {
                let last = (bucket, run.number, u32::MAX);
                blocks.remove((bucket, run.number, 0), last, run.blocks())?;
            }
            let added = change(&mut next, blocks)?;
            if blocks.count()? != next.blocks() {
                return Err(Fault::Damaged(MISCOUNTED.to_owned()));
            }
            attempted = Some(added);
            Ok(head::encode(self.store_id, &next))
        });
        match outcome {
            Ok(()) => {
                self.access = Some(Access::Write(handle));
                self.head = next;
                self.unconfirmed = 0..0;
                Ok(attempted.unwrap_or_default())
            }
            Err(error) => {
                self.attempt = attempted.map(|added| Attempt { head: next, added });
                Err(error)
            }
        }
    }

    /// Takes the access, which is opened anew when a fault has cost it. Whoever takes it puts it
    /// back when all went well.
    ///
    /// After a commit that failed it is opened to write: the commit may be readable and not on the
    /// disk, and what redb finds as it opens to write it also syncs. Its two-phase commits see to it
    /// that a commit it finds lacks no page but the header, which is written again.
    pub(super) fn ready(&mut self) -> Result<Access, TreeError> {
        match self.access.take() {
            Some(access) if !access.handle().is_cut_off() => Ok(access),
            _ if self.attempt.is_some() => self.reopen(Handle::open).map(Access::Write),
            _ => self.reopen(Handle::view).map(Access::View),
        }
    }

    /// Takes the access to write, which costs a walk through the whole file the first time.
    ///
    /// Until then whoever looks something up has the view, and from before the first commit on the
    /// other: a view knows one state of the file, whose pages the next commit but one may use again.
    fn ready_to_write(&mut self) -> Result<Arc<Handle>, TreeError> {
        match self.access.take() {
            Some(Access::Write(handle)) if !handle.is_cut_off() => Ok(handle),
            _ => self.reopen(Handle::open),
        }
    }

    /// Has the file open to write, so that the first commit need not walk through it.
    pub(crate) fn prepare(&mut self) -> Result<(), TreeError> {
        self.access = Some(Access::Write(self.ready_to_write()?));
        Ok(())
    }

    /// Opens the file again, and settles what became of a commit that failed.
    fn reopen(
        &mut self,
        open: impl FnOnce(Arc<dyn File>) -> Result<Handle, TreeError>,
    ) -> Result<Arc<Handle>, TreeError> {
        let file = self.storage.open(FILE).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => TreeError::Damaged("the file is gone".to_owned()),
            _ => TreeError::Io(error),
        })?;
        let (handle, found) = load(open(file)?, self.store_id)?;
        match self.attempt.take() {
            _ if found == self.head => {}
            Some(attempt) if found == attempt.head => {
                // Each commit takes out what an earlier one left unconfirmed.
                self.unconfirmed = attempt.added;
                self.head = attempt.head;
            }
            attempt => {
                self.attempt = attempt;
                handle.cut_off();
                return Err(TreeError::Damaged("the file is of another time".to_owned()));
            }
        }
        let handle = Arc::new(handle);
        self.reader.put(Some(Arc::clone(&handle)));
        Ok(handle)
    }
}

const MISCOUNTED: &str = "the directory lists another number of blocks";

/// Reads the head of an open file.
pub(super) fn load(handle: Handle, store_id: [u8; 16]) -> Result<(Handle, Head), TreeError> {
    let (bytes, blocks) = handle.read_head()?;
    let head = head::decode(store_id, &bytes)
        .and_then(|head| if head.blocks() == blocks { Ok(head) } else { Err(MISCOUNTED) });
    match head {
        Ok(head) => Ok((handle, head)),
        Err(wrong) => {
            // What is there belongs to somebody else, or to a post-mortem: leave it as it is.
            handle.cut_off();
            Err(TreeError::Damaged(wrong.to_owned()))
        }
    }
}
