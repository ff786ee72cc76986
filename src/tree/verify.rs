//! The whole file, verified and left alone.

use std::io;

use super::handle::Handle;
use super::{Entry, FILE, TreeError, load, spans};
use crate::storage::Storage;

/// See [`Tree::verify`](super::Tree::verify). redb repairs as it opens and writes as it closes, so
/// it only gets views of the file, and a new one after each fault.
pub(super) fn verify(
    storage: &dyn Storage,
    store_id: [u8; 16],
    visit: &mut dyn FnMut(u64, &[Entry]),
) -> Result<(Vec<u8>, Vec<String>), TreeError> {
    let file = storage.open_read_only(FILE).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => TreeError::Damaged("there is no file".to_owned()),
        _ => TreeError::Io(error),
    })?;
    let open = || load(Handle::view(file.clone())?, store_id);

    let (mut handle, head) = open()?;
    let mut wrong = Vec::new();
    let mut entries = Vec::new();
    let spans = spans(&head);
    if spans.is_empty() {
        let nothing = handle.expect_none((0, 0, 0), (u64::MAX, u64::MAX, u32::MAX));
        note(nothing, &mut wrong)?;
    }
    for span in &spans {
        entries.clear();
        if note(handle.read_run(store_id, span, &mut entries), &mut wrong)?.is_some() {
            visit(span.bucket, &entries);
        } else {
            entries.clear();
            handle = open()?.0;
        }
        let Some(filter) = note(handle.read_filter(store_id, span), &mut wrong)? else {
            handle = open()?.0;
            continue;
        };
        let lacks = |entry: &&Entry| span.run.has_filter() && !filter.may_have(entry.hash);
        let lacking = entries.iter().filter(lacks).count();
        if lacking > 0 {
            let (run, bucket) = (span.run.number, span.bucket);
            let of = format!("the filter of run {run} in bucket {bucket}");
            wrong.push(format!("{FILE}: {of} lacks {lacking} of its {} entries", entries.len()));
        }
    }
    let (mut handle, _) = open()?;
    if note(handle.check_pages(), &mut wrong)? == Some(false) {
        wrong.push(format!("{FILE}: redb's own pages are damaged, and can be repaired"));
    }
    Ok((head.engine, wrong))
}

/// Adds what is damaged to the list; passes on what the disk refused.
fn note<T>(outcome: Result<T, TreeError>, wrong: &mut Vec<String>) -> Result<Option<T>, TreeError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(TreeError::Damaged(what)) => {
            wrong.push(format!("{FILE}: {what}"));
            Ok(None)
        }
        Err(refused) => Err(refused),
    }
}
