//! A directory's names.

use std::collections::BTreeMap;

use super::cached::Medium;
use super::loss::Loss;
use super::rng::Rng;

/// What a name stands for, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    File(u64),
    Dir(u64),
}

/// A directory's names and what they stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(BTreeMap<String, Node>);

/// One change of a directory.
#[derive(Clone, Debug)]
pub(super) enum NameOp {
    Link { name: String, node: Node },
    Unlink { name: String, node: Node },
    Rename { to: String, node: Node },
}

impl NameOp {
    pub(super) fn node(&self) -> Node {
        match self {
            Self::Link { node, .. } | Self::Unlink { node, .. } | Self::Rename { node, .. } => {
                *node
            }
        }
    }
}

impl Names {
    pub(super) fn get(&self, name: &str) -> Option<Node> {
        self.0.get(name).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Node)> {
        self.0.iter().map(|(name, node)| (name.as_str(), *node))
    }
}

impl Medium for Names {
    type Op = NameOp;

    /// Applied out of order or with others missing, an operation still leaves one name at most for
    /// each node: it tells of the node it moved, not of the name that moved it.
    fn apply(&mut self, op: &NameOp) {
        match op {
            NameOp::Link { name, node } => {
                self.0.insert(name.clone(), *node);
            }
            NameOp::Unlink { name, node } => {
                if self.get(name) == Some(*node) {
                    self.0.remove(name);
                }
            }
            NameOp::Rename { to, node } => {
                self.0.retain(|_, there| there != node);
                self.0.insert(to.clone(), *node);
            }
        }
    }

    /// Directory operations are atomic: torn, one has happened or not.
    fn apply_torn(&mut self, op: &NameOp, _loss: &Loss, rng: &mut Rng) {
        if rng.coin() {
            self.apply(op);
        }
    }

    fn settle(&mut self) {}
}
