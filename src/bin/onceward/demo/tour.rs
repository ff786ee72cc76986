//! The tour: it asks, compares the answer with what the document promises, and writes it down.

mod crash;
mod expiry;
mod ietf;
mod magnolia;
mod managed_dev;
mod oec;

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::client::{Ask, Client, PATIENCE, Reply};
use super::promise::{Origin, Promise, Seen};
use super::table::{REQUEST_WIDTH, Row, Table};
use crate::Failure;

/// How often something awaited is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A tour in progress.
pub(crate) struct Tour<W> {
    table: Table<W>,
    client: Client,
    /// Executions when the chapter began.
    executions_before: u64,
    /// What tells the answers that were seen from one another: an answer that comes again is a
    /// replay, marked or not.
    answers: HashSet<String>,
}

/// Words for a table that cannot be written, as when it is piped into something that ended.
pub(crate) fn unwritten(error: &io::Error) -> Failure {
    Failure::Failed(format!("the table cannot be written: {error}"))
}

impl<W: Write> Tour<W> {
    /// A tour of the API that `client` reaches, written to `table`.
    pub(crate) fn new(table: Table<W>, client: Client) -> Self {
        Self { table, client, executions_before: 0, answers: HashSet::new() }
    }

    /// Ends the table. A promise that was not kept is a failure.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        self.table.summary().map_err(|error| unwritten(&error))?;
        if self.table.all_kept() {
            return Ok(());
        }
        Err(Failure::Failed("not every step of the tour was as promised".to_owned()))
    }

    /// Goes on with another API.
    pub(crate) fn turn_to(&mut self, client: Client) {
        self.client = client;
    }

    /// The client of the API the tour is at.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Begins a part of the tour.
    pub(crate) fn section(&mut self, title: &str, facts: &str) -> Result<(), Failure> {
        self.table.section(title, facts).map_err(|error| unwritten(&error))
    }

    /// Begins a chapter, in which executions count from zero.
    pub(crate) async fn chapter(&mut self, sentence: &str, numbers: &str) -> Result<(), Failure> {
        self.executions_before = self.client.state().await?.executions;
        self.chapter_goes_on(sentence, numbers)
    }

    /// Begins a chapter in which executions count on.
    pub(crate) fn chapter_goes_on(&mut self, sentence: &str, numbers: &str) -> Result<(), Failure> {
        self.table.chapter(sentence, numbers).map_err(|error| unwritten(&error))
    }

    /// Says what happens beside the requests.
    pub(crate) fn aside(&mut self, text: &str) -> Result<(), Failure> {
        self.table.aside(text).map_err(|error| unwritten(&error))
    }

    /// Sends `ask`, and judges the answer by the promise made for it.
    pub(crate) async fn step(
        &mut self,
        ask: &Ask,
        promise: impl FnOnce(&Reply) -> Promise,
    ) -> Result<Reply, Failure> {
        let reply = self.client.send(ask).await?;
        let promise = promise(&reply);
        self.judge(ask, &reply, &promise).await?;
        Ok(reply)
    }

    /// Judges an answer, and writes the row.
    pub(crate) async fn judge(
        &mut self,
        ask: &Ask,
        reply: &Reply,
        promise: &Promise,
    ) -> Result<(), Failure> {
        let marker = ask.document().marker;
        let marked = marker.is_some_and(|marker| reply.header(marker) == "true");
        let identity = reply.text("/request_id");
        let known = !identity.is_empty() && !self.answers.insert(identity.to_owned());
        let origin = match reply.status {
            400.. => Origin::Refusal,
            _ if known || marked => Origin::Replay,
            _ => Origin::Work,
        };
        let executions = self.executions().await?;
        let seen = Seen { status: reply.status, origin, marked, executions };
        let row = Row {
            request: &ask.shown(REQUEST_WIDTH),
            key: ask.key_shown(),
            status: Some(reply.status),
            replayed: (origin != Origin::Refusal).then_some(origin == Origin::Replay),
            executions,
            remark: promise.remark_shown(),
            broken: &promise.broken_by(&seen, marker.is_some()),
        };
        self.table.row(&row).map_err(|error| unwritten(&error))
    }

    /// A step that is no request: it holds, or it does not.
    pub(crate) fn fact(&mut self, what: &str, executions: u64, holds: bool) -> Result<(), Failure> {
        let broken = [format!("it does not hold that {what}")];
        let row = Row {
            request: what,
            key: "",
            status: None,
            replayed: None,
            executions,
            remark: "",
            broken: if holds { &[] } else { &broken },
        };
        self.table.row(&row).map_err(|error| unwritten(&error))
    }

    /// Executions since the chapter began.
    pub(crate) async fn executions(&self) -> Result<u64, Failure> {
        Ok(self.client.state().await?.executions.saturating_sub(self.executions_before))
    }

    /// Sends `ask`, whose work would be held back, and judges the answer: it has to come without
    /// any work.
    pub(crate) async fn step_without_work(
        &mut self,
        ask: &Ask,
        promise: impl FnOnce(&Reply) -> Promise,
    ) -> Result<(), Failure> {
        let sent = self.hold(ask, 1).await?;
        self.without_work(ask, &sent.answered, promise).await?;
        if sent.answered.is_empty() {
            self.let_go(sent).await?;
        }
        Ok(())
    }

    /// Judges the first of the answers that came while work is held back.
    pub(crate) async fn without_work(
        &mut self,
        ask: &Ask,
        answered: &[Reply],
        promise: impl FnOnce(&Reply) -> Promise,
    ) -> Result<(), Failure> {
        let Some(reply) = answered.first() else {
            let executions = self.executions().await?;
            return self.fact("a duplicate is answered without work", executions, false);
        };
        self.judge(ask, reply, &promise(reply)).await
    }

    /// Sends `ask`, whose work is held back, `times` at once, and waits until each was either
    /// answered or has begun to execute.
    pub(crate) async fn hold(&self, ask: &Ask, times: u64) -> Result<Held, Failure> {
        let held_before = self.client.state().await?.held;
        let mut open = JoinSet::new();
        for _ in 0..times {
            let (client, ask) = (self.client.clone(), ask.clone());
            open.spawn(async move { client.send(&ask).await });
        }
        let mut answered = Vec::new();
        let until = Instant::now() + PATIENCE;
        loop {
            while let Some(joined) = open.try_join_next() {
                answered.push(joined.map_err(|error| Failure::Failed(error.to_string()))??);
            }
            let held = self.client.state().await?.held.saturating_sub(held_before);
            if answered.len() as u64 + held >= times {
                return Ok(Held { answered, open });
            }
            if Instant::now() > until {
                return Err(Failure::Failed("requests were neither answered nor begun".to_owned()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until `held` requests are held back.
    pub(crate) async fn until_held(&self, held: u64) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        while self.client.state().await?.held < held {
            if Instant::now() > until {
                return Err(Failure::Failed("the requests do not begin".to_owned()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Lets go of what is held, and waits for the answers: gives one of them, and how many they are.
    pub(crate) async fn let_go(&self, held: Held) -> Result<(Reply, usize), Failure> {
        self.client.release().await?;
        let mut replies = Vec::new();
        for reply in held.open.join_all().await {
            replies.push(reply?);
        }
        let executed = replies.len();
        let first = replies.into_iter().next();
        let first = first.or_else(|| held.answered.into_iter().next());
        Ok((first.ok_or_else(|| Failure::Failed("there was no answer".to_owned()))?, executed))
    }

    /// Sends `ask` again and again, beside the table, until `done` with the answer.
    pub(crate) async fn watch(
        &self,
        ask: &Ask,
        done: impl Fn(&Reply) -> bool,
    ) -> Result<Reply, Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            let reply = self.client.send(ask).await?;
            if done(&reply) {
                return Ok(reply);
            }
            if Instant::now() > until {
                return Err(Failure::Failed("what the tour waits for does not come".to_owned()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Requests that were sent and whose work is held back.
pub(crate) struct Held {
    /// The answers of those that were not executed.
    pub(crate) answered: Vec<Reply>,
    open: JoinSet<Result<Reply, Failure>>,
}

/// The whole tour. The process that is killed has its stores in `directory`.
pub(crate) async fn take<W: Write>(tour: &mut Tour<W>, directory: &Path) -> Result<(), Failure> {
    follow_documents(tour).await?;
    crash::visit(tour, directory).await
}

async fn follow_documents<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    managed_dev::visit(tour).await?;
    oec::visit(tour).await?;
    magnolia::visit(tour).await?;
    ietf::visit(tour).await?;
    expiry::visit(tour).await
}

/// For each profile, what it shows and a request to try it with.
pub(crate) fn to_try() -> Result<Vec<(&'static str, Ask)>, Failure> {
    let uuid = super::random::uuid;
    Ok(vec![
        ("managed-dev: the same job, with its current status", managed_dev::create().key(&uuid()?)),
        (
            "oec: the original job status, and X-Idempotency-Replayed: true",
            oec::redeploy().key(&super::random::named("gh-actions-run-")?),
        ),
        ("magnolia: the same account; then change the name", magnolia::create().key(&uuid()?)),
        (
            "ietf: the same order; then take the quotes off the key",
            ietf::order().key(&ietf::string()?),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::super::api::Api;
    use super::super::serve;
    use super::super::server::Server;
    use super::*;

    /// Follows the documents at an API with or without a layer in front of it, and gives the table
    /// and how it ended.
    async fn tour_of(protected: bool) -> (String, Result<(), Failure>) {
        let directory = tempfile::tempdir().unwrap();
        let executions = directory.path().join("executions.log");
        let api = Api::new(&executions, Duration::from_millis(1)).unwrap();
        let store = onceward::Store::open(directory.path().join("store")).unwrap();
        let server = if protected { Server::new(api, &store) } else { Server::unprotected(api) };
        let (listener, address) = crate::listen::bind("127.0.0.1:0").await.unwrap();
        let (_stop, stopped) = oneshot::channel();
        tokio::spawn(serve(listener, server, stopped));
        let mut out = Vec::new();
        let mut tour = Tour::new(Table::new(&mut out, false), Client::new(address));
        follow_documents(&mut tour).await.unwrap();
        let ended = tour.end();
        (String::from_utf8(out).unwrap(), ended)
    }

    #[tokio::test]
    async fn an_api_that_keeps_its_promises_ends_well() {
        let (table, ended) = tour_of(true).await;
        assert!(ended.is_ok(), "{table}");
        assert!(!table.contains('✗'), "{table}");
    }

    /// Without the layer the very same API does its work anew for each request, which is what the
    /// documents promise not to happen: each part of the tour notices, and the whole fails.
    #[tokio::test]
    async fn every_part_notices_an_api_without_protection() {
        let (table, ended) = tour_of(false).await;
        assert!(matches!(ended, Err(Failure::Failed(_))), "{table}");
        let titles = ["managed.dev", "oec.sh", "Magnolia", "IETF draft", "Expiry"];
        let mut begins: Vec<usize> =
            titles.iter().map(|title| table.find(&format!("\n{title}  ")).unwrap()).collect();
        begins.push(table.len());
        for (title, part) in titles.iter().zip(begins.windows(2)) {
            assert!(table[part[0]..part[1]].contains('✗'), "{title} in {table}");
        }
    }
}
