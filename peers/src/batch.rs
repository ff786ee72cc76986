//! A writer's thread that gathers what every task wants into one durable commit: the best batching a
//! store with one writer allows. While it commits, the next batch gathers. A task that is alone has
//! nothing to gather with, and commits by itself, without the way to another thread and back.

use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::work::{Text, sure};

/// What a task wants of the writer.
pub(crate) struct Wish {
    pub(crate) text: Text,
    /// The payload of a completion; a claim has none.
    pub(crate) payload: Option<Bytes>,
    /// Whether a claim was granted, which the writer says before it commits.
    pub(crate) granted: bool,
    answer: oneshot::Sender<bool>,
}

/// Does all of `wishes`, which stand in the order of their keys, in one durable commit.
pub(crate) trait Commit: Send + 'static {
    fn commit(&mut self, wishes: &mut [Wish]);
}

/// The way to what commits.
pub(crate) enum Gather {
    Alone(Mutex<Box<dyn Commit>>),
    Thread { wishes: Option<mpsc::Sender<Wish>>, thread: Option<JoinHandle<()>> },
}

impl Gather {
    /// Commits with `writer`: on a thread of its own, unless there is only one of `tasks`.
    pub(crate) fn start<C: Commit>(tasks: usize, mut writer: C) -> Self {
        if tasks <= 1 {
            return Self::Alone(Mutex::new(Box::new(writer)));
        }
        let (wishes, wanted) = mpsc::channel();
        let thread = std::thread::spawn(move || run(&mut writer, &wanted));
        Self::Thread { wishes: Some(wishes), thread: Some(thread) }
    }

    /// Whether `text` was absent and is now in flight.
    pub(crate) async fn claim(&self, text: Text) -> bool {
        self.wish(text, None).await
    }

    pub(crate) async fn complete(&self, text: Text, payload: Bytes) {
        self.wish(text, Some(payload)).await;
    }

    async fn wish(&self, text: Text, payload: Option<Bytes>) -> bool {
        let (answer, answered) = oneshot::channel();
        let wish = Wish { text, payload, granted: false, answer };
        match self {
            Self::Alone(writer) => {
                let mut wishes = [wish];
                writer.lock().unwrap_or_else(PoisonError::into_inner).commit(&mut wishes);
                let [wish] = wishes;
                wish.granted
            }
            Self::Thread { wishes, .. } => {
                let sent = wishes.as_ref().is_some_and(|wishes| wishes.send(wish).is_ok());
                assert!(sent, "the writer has ended");
                sure(answered.await)
            }
        }
    }
}

impl Drop for Gather {
    fn drop(&mut self) {
        let Self::Thread { wishes, thread } = self else { return };
        drop(wishes.take());
        if let Some(thread) = thread.take() {
            // Its panic has been seen by whoever waited for it.
            let _ = thread.join();
        }
    }
}

fn run(writer: &mut impl Commit, wanted: &mpsc::Receiver<Wish>) {
    let mut wishes = Vec::new();
    while let Ok(first) = wanted.recv() {
        wishes.push(first);
        wishes.extend(wanted.try_iter());
        // A page of a tree is then visited once; and two wishes for one key stand side by side.
        wishes.sort_unstable_by_key(|wish| wish.text);
        writer.commit(&mut wishes);
        for wish in wishes.drain(..) {
            // Whoever asked and went away wants no answer.
            let _ = wish.answer.send(wish.granted);
        }
    }
}

/// Whether the wish at `at` is for the key of the one before it. A store that cannot see what it has
/// put into a batch learns so that the key is taken.
pub(crate) fn repeats(wishes: &[Wish], at: usize) -> bool {
    let text = |at: usize| wishes.get(at).map(|wish| wish.text);
    at > 0 && text(at) == text(at - 1)
}
