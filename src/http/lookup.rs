//! Asking the store about a request's key.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderMap, Response};

use super::admit::Keyed;
use super::body::Body;
use super::doubt::{self, Doubt};
use super::layer::Config;
use super::policy::InFlight;
use super::replay::{flooded, store_failed};
use crate::backend::{Backend, BackendWait};
use crate::error::{Error, ErrorKind};
use crate::fingerprint::Fingerprint;
use crate::key::Key;
use crate::outcome::{Claim, ClaimOptions, Record, Resolution, State};

/// The longest a duplicate waits, whatever the profile says: no clock overflows by it.
const PATIENCE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A request's key, and the store to ask about it.
pub(crate) struct Lookup<B> {
    pub(crate) store: B,
    pub(crate) config: Arc<Config>,
    pub(crate) keyed: Keyed,
}

impl<B: Backend> Lookup<B> {
    /// The record that answers whatever the body is, so that nobody waits for one (C14): there is
    /// none where bodies are compared, or where the request may come to run.
    pub(crate) async fn known(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Record>, Box<Response<Body>>> {
        let profile = &self.config.profile;
        if profile.compares_requests() {
            return Ok(None);
        }
        let found = match self.key() {
            Ok(key) => self.answered(pin!(self.store.get(key)), Duration::ZERO).await,
            Err(error) => Err(error),
        };
        let answers = |record: &Record| match record.state() {
            State::Complete => true,
            State::InFlight => profile.in_flight == InFlight::Reject,
            State::InDoubt => !doubt::is_decided(&self.config),
        };
        match found {
            Ok(record) => Ok(record.filter(answers)),
            Err(error) => Err(Box::new(store_failed(&self.config, &error, headers))),
        }
    }

    /// Refuses a request before its body is read where its claim would be: as many are in flight as
    /// there may be. A request whose key is known goes on, for it claims nothing. The claim itself
    /// is held to the same limits: this only spares the reading.
    pub(crate) async fn refuse_flood(
        &self,
        headers: &HeaderMap,
    ) -> Result<(), Box<Response<Body>>> {
        let found = match self.key() {
            Ok(key) if self.store.has_room(key.scope()) => return Ok(()),
            Ok(key) => self.answered(pin!(self.store.get(key)), Duration::ZERO).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Box::new(flooded(&self.config, headers))),
            Err(error) => Err(Box::new(store_failed(&self.config, &error, headers))),
        }
    }

    /// Claims the key, waits where the profile says so, and goes past a doubt where anybody decides
    /// about it.
    pub(crate) async fn claim(
        &self,
        print: Fingerprint,
        request: &Parts,
    ) -> Result<Claim<B>, Error> {
        let claim = self.claim_or_wait(print).await?;
        self.past_doubt(claim, print, request).await
    }

    async fn claim_or_wait(&self, print: Fingerprint) -> Result<Claim<B>, Error> {
        let options = ClaimOptions::new().ttl(self.config.profile.ttl);
        let claim = self.store.claim(self.key()?, print, options);
        let claim = self.answered(pin!(claim), Duration::ZERO).await?;
        match (claim, self.config.profile.in_flight) {
            (Claim::InFlight(wait), InFlight::Wait(patience)) => {
                // Whoever waits holds the body of its request.
                let Some(_waiting) = self.config.waiting.enter(&self.keyed.scope) else {
                    return Ok(Claim::InFlight(wait));
                };
                let patience = patience.min(PATIENCE_MAX);
                self.answered(pin!(wait.until(Instant::now() + patience)), patience).await
            }
            (claim, _) => Ok(claim),
        }
    }

    /// The claim that holds once a key in doubt was decided about, where anybody does (C34), which is
    /// at most once a request.
    async fn past_doubt(
        &self,
        claim: Claim<B>,
        print: Fingerprint,
        request: &Parts,
    ) -> Result<Claim<B>, Error> {
        let record = match claim {
            Claim::InDoubt(record) => record,
            // Nobody compares now; the record is from when somebody did.
            Claim::Mismatch(record)
                if record.state() == State::InDoubt && !self.config.profile.compares_requests() =>
            {
                record
            }
            claim => return Ok(claim),
        };
        if !doubt::is_decided(&self.config) {
            return Ok(Claim::InDoubt(record));
        }
        let about = Doubt {
            key: self.keyed.key.clone(),
            digest: self.keyed.digest(),
            record: record.clone(),
            request: request.clone(),
        };
        let Some(resolution) = doubt::decide(&self.config, about).await else {
            return Ok(Claim::InDoubt(record));
        };
        match self.resolve(&record, resolution).await {
            Ok(()) => self.claim_or_wait(print).await,
            Err(error) => {
                tracing::error!(%error, "a key in doubt could not be resolved, and stays so");
                Ok(Claim::InDoubt(record))
            }
        }
    }

    /// Resolves the doubt that `record` is about, and no later one: while somebody decided, another
    /// may have done so before, and the work done since may be in doubt by now.
    async fn resolve(&self, record: &Record, resolution: Resolution) -> Result<(), Error> {
        let _one_at_a_time = self.config.rulings.lock().await;
        let now = self.answered(pin!(self.store.get(self.key()?)), Duration::ZERO).await?;
        let is_the_same = |now: &Record| {
            now.state() == State::InDoubt
                && now.claimed_at() == record.claimed_at()
                && now.expires_at() == record.expires_at()
        };
        if now.is_some_and(|now| is_the_same(&now)) {
            let resolved = self.store.resolve(self.key()?, resolution);
            let resolved = self.answered(pin!(resolved), Duration::ZERO).await?;
            tracing::warn!(?resolved, "a key in doubt was decided about");
        }
        Ok(())
    }

    /// What the store says within the time that a handler has, and `patience` besides. One that does
    /// not answer by then is as one that fails (C36): nothing runs. It is asked no longer, so that a
    /// claim which it grants later gives its key back.
    async fn answered<T>(
        &self,
        asked: Pin<&mut impl Future<Output = Result<T, Error>>>,
        patience: Duration,
    ) -> Result<T, Error> {
        let Some(limit) = self.config.profile.timeout else { return asked.await };
        tokio::time::timeout(limit.saturating_add(patience), asked).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Unavailable, "the store does not answer"))
        })
    }

    fn key(&self) -> Result<Key<'_>, Error> {
        Key::new(&self.keyed.scope, &self.keyed.key)
    }
}
