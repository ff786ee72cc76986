//! A task of its own for the work behind a granted key, and how long its client waits for it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, Response};
use tokio::sync::oneshot;
use tracing::Instrument;

use super::body::Body;
use super::layer::Config;
use super::outcome::Decision;
use super::policy::{OnDisconnect, OnTimeout};
use super::problem::Condition;
use super::replay::refuse;

/// What stops work before it is done.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    /// How long the work may take (C33).
    limit: Option<Duration>,
    /// Ends when nobody waits for the work any more (C31); told something, it means nothing more.
    client: Option<oneshot::Receiver<()>>,
}

/// Why work was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It took longer than its limit.
    TooLate,
    /// Its client has gone.
    ClientGone,
}

impl Stop {
    /// Does `work`, unless it is stopped; stopped, it is dropped before this returns.
    pub(crate) async fn or<F: Future>(self, work: F) -> Result<F::Output, Stopped> {
        let mut work = pin!(work);
        let mut limit = pin!(self.limit.map(tokio::time::sleep));
        let mut client = self.client;
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            if limit.as_mut().as_pin_mut().is_some_and(|limit| limit.poll(cx).is_ready()) {
                return Poll::Ready(Err(Stopped::TooLate));
            }
            match client.as_mut().map(|client| Pin::new(client).poll(cx)) {
                Some(Poll::Ready(Err(_))) => return Poll::Ready(Err(Stopped::ClientGone)),
                Some(Poll::Ready(Ok(()))) => client = None,
                Some(Poll::Pending) | None => {}
            }
            Poll::Pending
        })
        .await
    }
}

/// Runs what `work` makes in a task of its own, and waits for it as long as the profile says.
///
/// Nothing is awaited before the task is there, so whoever drops this future leaves a claim that is
/// being worked on, or one whose work is stopped because the profile says so. `asked` is what of the
/// request's headers a generated error needs.
pub(crate) async fn detached<F, E>(
    config: Arc<Config>,
    asked: HeaderMap,
    work: impl FnOnce(Stop) -> F,
) -> Result<Response<Body>, E>
where
    F: Future<Output = Result<Response<Body>, E>> + Send + 'static,
    E: Send + 'static,
{
    let profile = &config.profile;
    let (limit, patience) = match profile.on_timeout {
        OnTimeout::Continue => (None, profile.timeout),
        OnTimeout::Cancel => (profile.timeout, None),
    };
    let (present, client) = match profile.on_disconnect {
        OnDisconnect::Detach => (None, None),
        OnDisconnect::Cancel => {
            let (present, client) = oneshot::channel();
            (Some(present), Some(client))
        }
    };
    let work = work(Stop { limit, client });
    let mut task = tokio::spawn(work.instrument(tracing::Span::current()));
    let done = if let Some(patience) = patience {
        let Ok(done) = tokio::time::timeout(patience, &mut task).await else {
            if let Some(present) = present {
                // The client gets its answer and may go: the work goes on.
                let _ = present.send(());
            }
            return Ok(refuse(&config, &Condition::ResponseTimeout, Decision::TimedOut, &asked));
        };
        done
    } else {
        task.await
    };
    done.unwrap_or_else(|_| {
        // The runtime is shutting down, and took the task with it.
        let condition = Condition::CompletionNotWritten;
        Ok(refuse(&config, &condition, Decision::LeftInDoubt, &asked))
    })
}
