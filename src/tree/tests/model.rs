//! Random operations with faults, against a map.

use std::io::ErrorKind as Io;

use super::*;

/// What the tree should hold: the engine's bytes, and the runs in order without their numbers.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    head: Vec<u8>,
    runs: Vec<(u64, Vec<Entry>)>,
}

#[derive(Clone)]
enum Step {
    Checkpoint(Vec<(u64, Entry)>),
    Drop(Vec<u64>),
}

impl Step {
    fn any(rng: &mut fastrand::Rng) -> Self {
        if rng.u8(..4) == 0 {
            return Self::Drop((0..rng.usize(..3)).map(|_| rng.u64(..6)).collect());
        }
        let mut buckets: Vec<u64> = (0..rng.usize(..3)).map(|_| rng.u64(..6)).collect();
        buckets.sort_unstable();
        buckets.dedup();
        let sizes = [1, 20, 252, 400];
        let group = |bucket: u64| entries(rng, bucket, sizes[bucket as usize % 4]);
        Self::Checkpoint(buckets.into_iter().flat_map(group).collect())
    }

    fn take(&self, tree: &mut Tree, head: &[u8]) -> Result<(), TreeError> {
        match self {
            Self::Checkpoint(entries) => {
                tree.checkpoint(head, entries.clone(), Vec::new()).map(drop)
            }
            Self::Drop(buckets) => tree.drop_buckets(head, buckets),
        }
    }

    fn apply(&self, model: &Model, head: &[u8]) -> Model {
        let mut runs = model.runs.clone();
        match self {
            Self::Checkpoint(entries) => {
                let groups = entries.chunk_by(|one, other| one.0 == other.0);
                runs.extend(groups.map(|group| (group[0].0, sorted(group))));
            }
            Self::Drop(buckets) => runs.retain(|run| !buckets.contains(&run.0)),
        }
        Model { head: head.to_vec(), runs }
    }
}

fn seen(tree: &mut Tree, head: &[u8]) -> Model {
    let runs = load(tree).unwrap().into_iter().map(|(bucket, _, entries)| (bucket, entries));
    Model { head: head.to_vec(), runs: runs.collect() }
}

/// Opens what is left: the old state or the new, as its head says, and nothing else.
fn recover(disk: &Arc<Disk>, old: &Model, new: &Model) -> (Tree, Model) {
    let (mut tree, head) = open(disk).unwrap().unwrap();
    let found = seen(&mut tree, &head);
    let names = |model: &Model| {
        let runs = model.runs.iter().map(|run| (run.0, run.1.len())).collect::<Vec<_>>();
        format!("{} {runs:?}", String::from_utf8_lossy(&model.head))
    };
    assert!(
        found == *old || found == *new,
        "{} is neither {} nor {}",
        names(&found),
        names(old),
        names(new)
    );
    (tree, found)
}

/// Random steps, refusals, retries, kills and power cuts, against a few lines of model.
#[test]
fn whatever_happens_the_tree_holds_what_it_says() {
    let mut rng = rng();
    for _ in 0..12 {
        let mut disk = Disk::new();
        let mut tree = Tree::create(disk.clone(), STORE, b"0").unwrap();
        let mut model = Model { head: b"0".to_vec(), runs: Vec::new() };
        for number in 1..25 {
            let (step, head) = (Step::any(&mut rng), number.to_string().into_bytes());
            let new = step.apply(&model, &head);
            let fate = rng.u8(..8);
            let end = if fate < 2 { u64::MAX } else { 1 };
            let first = if fate < 5 { rng.u64(..14) } else { u64::MAX };
            disk.refuse(first..first.saturating_add(end), Io::Other);
            let taken = step.take(&mut tree, &head);
            disk.refuse(0..0, Io::Other);
            match (taken, fate) {
                (Ok(()), 0) | (Err(_), 0 | 1) => {
                    let left = disk.after_power_loss(FILE, &mut rng);
                    disk = Disk::with(FILE, left);
                    (tree, model) = recover(&disk, &model, &new);
                }
                (Err(_), 2) => {
                    disk = Disk::with(FILE, disk.bytes(FILE));
                    (tree, model) = recover(&disk, &model, &new);
                }
                (Err(_), 3) => {
                    let head = tree.head().unwrap().to_vec();
                    model = if head == new.head { new } else { model };
                }
                (Err(_), _) => {
                    step.take(&mut tree, &head).unwrap();
                    model = new;
                }
                (Ok(()), _) => model = new,
            }
            let head = tree.head().unwrap().to_vec();
            assert!(seen(&mut tree, &head) == model, "after step {number}");
            if rng.u8(..6) == 0 {
                tree.close().unwrap();
                tree = open(&disk).unwrap().unwrap().0;
            }
        }
    }
}
