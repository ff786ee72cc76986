//! Parts below the tree that need a disk, or that nothing above can show by itself.

use redb::StorageBackend as _;

use super::*;
use crate::storage::{File, Storage};
use crate::tree::backend::{Backend, Shared};
use crate::tree::handle::{Fault, Handle};
use crate::tree::head::{Head, Run};
use crate::tree::overlay::Overlay;
use crate::tree::spans;

/// Whatever is done to the view, it reads as a file would to which it was done, and the file below
/// stays as it is.
#[test]
fn a_view_reads_like_a_file_and_leaves_the_one_below_alone() {
    let mut rng = rng();
    for _ in 0..200 {
        let len = rng.usize(..20_000);
        let below: Vec<u8> = std::iter::repeat_with(|| rng.u8(1..)).take(len).collect();
        let disk = Disk::with(FILE, below.clone());
        let view = Overlay::new(disk.open_read_only(FILE).unwrap()).unwrap();
        let mut model = below.clone();
        for _ in 0..30 {
            let (at, len) = (rng.usize(..20_000), rng.usize(..9_000));
            match rng.u8(..4) {
                0 => {
                    let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(1..)).take(len).collect();
                    view.write_at(&bytes, at as u64).unwrap();
                    if !bytes.is_empty() {
                        model.resize(model.len().max(at + len), 0);
                        model[at..at + len].copy_from_slice(&bytes);
                    }
                }
                1 => {
                    view.set_len(at as u64).unwrap();
                    model.resize(at, 0);
                }
                _ => {
                    let mut bytes = vec![7; len];
                    match (view.read_at(&mut bytes, at as u64), model.get(at..at + len)) {
                        (Ok(()), Some(wanted)) => assert!(bytes == wanted, "{len} bytes at {at}"),
                        (Err(error), None) => {
                            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
                        }
                        other => panic!("{len} bytes at {at} of {}: {other:?}", model.len()),
                    }
                }
            }
            assert_eq!(view.len().unwrap(), model.len() as u64);
        }
        let mut whole = vec![7; model.len()];
        view.read_at(&mut whole, 0).unwrap();
        assert!(whole == model);
        assert!(disk.bytes(FILE) == below, "the file below was changed");
    }
}

/// A file that ends within what redb wrote last has no layout of redb's.
#[test]
fn growth_is_on_the_disk_before_anything_is_written_into_it() {
    let mut rng = rng();
    let disk = Disk::with(FILE, vec![1; 4096]);
    let file = Shared(Backend::new(disk.open(FILE).unwrap()));
    file.set_len(8192).unwrap();
    file.write(4096, &[2; 4096]).unwrap();
    for _ in 0..50 {
        assert_eq!(disk.after_power_loss(FILE, &mut rng).len(), 8192);
    }
}

#[test]
fn after_a_fault_the_file_is_left_as_it_is() {
    let faults: [fn() -> Fault; 2] =
        [|| Fault::Damaged("on purpose".to_owned()), || panic!("on purpose")];
    for fault in faults {
        let disk = Disk::new();
        let handle = Handle::create(disk.create(FILE).unwrap()).unwrap();
        handle.commit(|_| Ok(b"head".to_vec())).unwrap();
        disk.refuse(0..0, std::io::ErrorKind::Other);
        let outcome = handle.commit(|_| Err(fault()));
        assert!(
            matches!(&outcome, Err(TreeError::Damaged(what)) if what.contains("on purpose")),
            "{outcome:?}"
        );
        let again = handle.commit(|_| Ok(b"another".to_vec()));
        assert!(again.is_err(), "the handle was used again");
        drop(handle);
        assert_eq!(disk.calls(), 0, "the file was changed after the fault");
        let handle = Handle::open(disk.open(FILE).unwrap()).unwrap();
        assert_eq!(handle.read_head().unwrap(), (b"head".to_vec(), 0));
    }
}

/// No key is outside every span: what stands between two runs, before the first or after the last
/// is met when one of them is read.
#[test]
fn the_spans_leave_no_gap() {
    let (lines, filter_crc) = (1, 0);
    let run =
        |number| Run { number, entries: 1, parts: 1, crc: 0, doubts: false, lines, filter_crc };
    let head = Head {
        next_run: 9,
        buckets: [(50, vec![run(1), run(8)]), (60, vec![run(3)])].into(),
        ..Head::default()
    };
    let spans: Vec<_> =
        spans(&head).iter().map(|span| (span.from, span.bucket, span.run, span.next)).collect();
    let wanted = [
        ((0, 0, 0), 50, run(1), Some((50, 8, 0))),
        ((50, 8, 0), 50, run(8), Some((60, 3, 0))),
        ((60, 0, 0), 60, run(3), None),
    ];
    assert_eq!(spans, wanted);
}
