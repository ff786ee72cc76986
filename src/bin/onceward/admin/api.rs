//! The admin API under `/v1`: what is asked by a path, and answered in JSON.
//!
//! The commands for operators ask the same questions, of a gateway over the network or of a store of
//! their own in this process; there is one answer to each.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use onceward::{Fingerprint, Key, Resolution, Resolved, State, Stats};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::keys::{self, Wanted};
use super::query::Query;
use super::refusal::{Refusal, json_response};
use super::resolution;
use super::scope::{self, Scopes};
use crate::gateway::hex;
use crate::octets;
use crate::store::Engine;

/// How many questions may have the disk read at one time: the gateway's own work comes first.
const AT_ONCE: usize = 2;

/// The API over a store. Clones share it.
#[derive(Clone)]
pub(crate) struct Api<E> {
    engine: E,
    /// `None` where no gateway runs, which would know how callers are told apart.
    scopes: Option<Arc<Scopes>>,
    at_once: Arc<Semaphore>,
}

/// Which key is asked about.
enum Which<'a> {
    /// By its scope, or `-`, and by its octets, percent-encoded.
    Named(&'a str, &'a str),
    /// By its SHA-256, or the beginning of it.
    Hashed(&'a str),
}

/// A key with its scope.
struct Found {
    scope: Vec<u8>,
    key: Vec<u8>,
}

impl<E: Engine> Api<E> {
    /// The API over `engine`, of a gateway that makes its scopes as `scopes` says.
    pub(crate) fn new(engine: E, scopes: Option<Scopes>) -> Self {
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        Self { engine, scopes: scopes.map(Arc::new), at_once }
    }

    /// Answers `request`, whose path begins with `/v1/`.
    pub(crate) async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        match self.decide(&request).await {
            Ok(body) => json_response(StatusCode::OK, &body),
            Err(refusal) => refusal.into_response(),
        }
    }

    async fn decide(&self, request: &Request<Bytes>) -> Result<Value, Refusal> {
        let uri = request.uri();
        let mut query = Query::parse(uri.query())?;
        let parts: Vec<&str> = uri.path().split('/').skip(1).collect();
        let by = |method: Method, allow| {
            if *request.method() == method { Ok(()) } else { Err(Refusal::method(allow)) }
        };
        match *parts.as_slice() {
            ["v1", "stats"] => {
                by(Method::GET, "GET")?;
                query.end()?;
                self.blocking(|engine| Ok(shown_stats(&engine.stats()))).await
            }
            ["v1", "sweep"] => {
                by(Method::POST, "POST")?;
                query.end()?;
                self.sweep().await
            }
            ["v1", "keys"] => {
                by(Method::GET, "GET")?;
                let scope = scope::of_query(&mut query, self.scopes.as_deref())?;
                let wanted = Wanted::read(&mut query, scope)?;
                query.end()?;
                self.blocking(move |engine| Ok(keys::page(engine, &wanted))).await
            }
            ["v1", "keys", "by-hash", hash] => {
                by(Method::GET, "GET")?;
                self.show_hashed(hash, query).await
            }
            ["v1", "keys", scope, key] => {
                by(Method::GET, "GET")?;
                self.show(scope, key, query).await
            }
            ["v1", "keys", "by-hash", hash, "release"] => {
                by(Method::POST, "POST")?;
                self.resolve(Which::Hashed(hash), query, Resolution::Release).await
            }
            ["v1", "keys", scope, key, "release"] => {
                by(Method::POST, "POST")?;
                self.resolve(Which::Named(scope, key), query, Resolution::Release).await
            }
            ["v1", "keys", "by-hash", hash, "resolve"] => {
                by(Method::POST, "POST")?;
                let how = resolution::read(request.body())?;
                self.resolve(Which::Hashed(hash), query, how).await
            }
            ["v1", "keys", scope, key, "resolve"] => {
                by(Method::POST, "POST")?;
                let how = resolution::read(request.body())?;
                self.resolve(Which::Named(scope, key), query, how).await
            }
            _ => Err(Refusal::no_such_path()),
        }
    }

    /// Runs what reads the disk apart from what answers requests.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&E) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let stopping = || {
            let message = "the gateway is stopping";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", message)
        };
        let _permit = self.at_once.acquire().await.map_err(|_| stopping())?;
        let engine = self.engine.clone();
        tokio::task::spawn_blocking(move || work(&engine)).await.map_err(|_| stopping())?
    }

    async fn sweep(&self) -> Result<Value, Refusal> {
        self.blocking(|engine| {
            let report = engine.sweep()?;
            Ok(json!({
                "expired": report.expired,
                "bytes_freed": report.bytes_freed,
                "segments_removed": report.segments_removed,
            }))
        })
        .await
    }

    fn named(&self, scope: &str, key: &str, query: &mut Query) -> Result<Found, Refusal> {
        let scope = scope::of_path(scope, query, self.scopes.as_deref())?;
        let key = octets::from_percent(key)
            .ok_or_else(|| Refusal::bad_request("the key is not percent-encoded"))?;
        Key::new(&scope, &key)?;
        Ok(Found { scope, key })
    }

    async fn show(&self, scope: &str, key: &str, mut query: Query) -> Result<Value, Refusal> {
        let Found { scope, key } = self.named(scope, key, &mut query)?;
        let show_key = keys::shows_keys(&mut query)?;
        query.end()?;
        let record = self.engine.get(Key::new(&scope, &key)?).await?;
        let record = record.ok_or_else(Refusal::no_such_key)?;
        self.blocking(move |_| Ok(keys::shown_in_full(&scope, &key, &record, show_key)?)).await
    }

    async fn show_hashed(&self, hash: &str, mut query: Query) -> Result<Value, Refusal> {
        let hash = keys::parse_hash(hash)?;
        let scope = scope::of_query(&mut query, self.scopes.as_deref())?;
        let show_key = keys::shows_keys(&mut query)?;
        query.end()?;
        self.blocking(move |engine| {
            let found = keys::of_hash(engine, &hash, scope.as_deref(), None)?;
            if found.is_empty() {
                return Err(Refusal::no_such_key());
            }
            let shown: Vec<Value> = found.iter().map(|item| keys::shown(item, show_key)).collect();
            Ok(json!({ "keys": shown }))
        })
        .await
    }

    async fn resolve(
        &self,
        which: Which<'_>,
        mut query: Query,
        how: Resolution,
    ) -> Result<Value, Refusal> {
        let Found { scope, key } = match which {
            Which::Named(scope, key) => self.named(scope, key, &mut query)?,
            Which::Hashed(hash) => self.in_doubt(hash, &mut query).await?,
        };
        query.end()?;
        let outcome = if how == Resolution::Release { "released" } else { "completed" };
        let resolved = self.engine.resolve(Key::new(&scope, &key)?, how).await?;
        let conflict = |code, message: &str| Refusal::new(StatusCode::CONFLICT, code, message);
        match resolved {
            Resolved::Done => {}
            Resolved::Absent => return Err(Refusal::no_such_key()),
            Resolved::InFlight => {
                return Err(conflict("in-flight", "a request is at work on this key"));
            }
            Resolved::Complete => {
                return Err(conflict("complete", "this key is complete, and nothing is in doubt"));
            }
        }
        let (scope, key) = (hex(&scope), hex(Fingerprint::of(&key).as_bytes()));
        tracing::info!(key = key.get(..16), scope, outcome, "a key in doubt was resolved by hand");
        Ok(json!({ "outcome": outcome, "scope": scope, "key_sha256": key }))
    }

    /// The one key in doubt with this hash; or why there is none, or which of several is not said.
    async fn in_doubt(&self, hash: &str, query: &mut Query) -> Result<Found, Refusal> {
        let hash = keys::parse_hash(hash)?;
        let scope = scope::of_query(query, self.scopes.as_deref())?;
        self.blocking(move |engine| {
            let mut found = keys::of_hash(engine, &hash, scope.as_deref(), Some(State::InDoubt))?;
            if found.is_empty() {
                // Resolving it says what is in the way.
                found = keys::of_hash(engine, &hash, scope.as_deref(), None)?;
            }
            let several = found.len() > 1;
            let item = found.pop().ok_or_else(Refusal::no_such_key)?;
            if several {
                let message = "several keys have this hash: give the scope, too";
                return Err(Refusal::new(StatusCode::CONFLICT, "ambiguous", message));
            }
            Ok(Found { scope: item.scope, key: item.key })
        })
        .await
    }
}

fn shown_stats(stats: &Stats) -> Value {
    json!({
        "records": stats.records,
        "cold_records": stats.cold_records,
        "unread_pieces": stats.unread_pieces,
        "in_doubt": stats.in_doubt,
        "in_flight": stats.in_flight,
        "segments": stats.segments,
        "log_bytes": stats.log_bytes,
        "tree_bytes": stats.tree_bytes,
        "index_bytes": stats.index_bytes,
        "checkpoint_lag": stats.checkpoint_lag,
        "groups": stats.groups,
        "frames": stats.frames,
        "bytes_written": stats.bytes_written,
        "bytes_zeroed": stats.bytes_zeroed,
        "syncs": stats.syncs,
        "claims": stats.claims,
        "completions": stats.completions,
        "tombstones": stats.tombstones,
        "releases": stats.releases,
        "left_in_doubt": stats.left_in_doubt,
        "resolutions": stats.resolutions,
        "expired": stats.expired,
        "bytes_freed": stats.bytes_freed,
        "segments_removed": stats.segments_removed,
        "segments_reused": stats.segments_reused,
        "epoch": stats.epoch,
        "poisoned": stats.poisoned,
        "suspect_until_ms": stats.suspect_until_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_of_a_store_is_shown_by_its_name() {
        let stats = Stats::default();
        let shown = shown_stats(&stats);
        let names = format!("{stats:#?}");
        let names = names.lines().filter_map(|line| line.strip_prefix("    ")?.split(':').next());
        assert_eq!(names.clone().count(), shown.as_object().map_or(0, serde_json::Map::len));
        for name in names {
            assert!(shown.get(name).is_some(), "{name}");
        }
    }
}
