//! The decision about a request too long to be read before its key is claimed, where the profile
//! streams such requests (C13).
//!
//! The claim bears [`Head::streamed`]: the same for every body. So a duplicate of a streamed
//! request finds its record by that, and compares bodies by the fingerprint the record bears once
//! the first request has come whole; until then nobody can say that they differ.

use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderMap, Response};

use super::body::{Body, BoxError};
use super::fingerprint::Head;
use super::layer::Config;
use super::outcome::Decision;
use super::policy::Mismatch;
use super::problem::Condition;
use super::receive::{Overlong, drain};
use super::replay::{answer, refuse, store_failed};
use super::service::{KeyedRequest, incomplete, spool_failed};
use super::streamed_print;
use super::streaming::{Rest, stream};
use crate::backend::{Backend, BackendWait};
use crate::fingerprint::Fingerprint;
use crate::outcome::{Claim, Record, State};

impl<S, B, ResB> KeyedRequest<S, B>
where
    S: tower_service::Service<http::Request<Body>, Response = Response<ResB>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Backend,
    ResB: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + 'static,
{
    /// Claims the key before the body has come, and streams the body to the handler.
    pub(super) async fn stream<ReqB>(
        self,
        parts: Parts,
        head: Head,
        body: Overlong<ReqB>,
    ) -> Result<Response<Body>, S::Error>
    where
        ReqB: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let config = std::sync::Arc::clone(&self.lookup.config);
        let untouched = body.is_untouched();
        let (begun, hasher, rest) = match body.into_parts().await {
            Ok(parts) => parts,
            Err(error) => return Ok(spool_failed(&config, &error, &parts.headers)),
        };
        let rest = Rest { body: rest, hasher };
        let compares = config.profile.compares_requests();
        let found = match self.lookup.claim(head.streamed(), &parts).await {
            Ok(Claim::Granted(ticket)) => {
                let (body, ticket) = stream(begun, rest, head, ticket);
                return self.run(ticket, parts, body).await;
            }
            Ok(Claim::Replay(record)) if compares => match streamed_print::of_record(&record) {
                Ok(Some(print)) => Found::Print(print, record),
                Ok(None) => Found::Answer(record),
                Err(error) => return Ok(store_failed(&config, &error, &parts.headers)),
            },
            Ok(Claim::Mismatch(record)) if compares => {
                let print = record.fingerprint();
                Found::Print(print, record)
            }
            Ok(Claim::Replay(record) | Claim::InDoubt(record) | Claim::Mismatch(record)) => {
                Found::Answer(record)
            }
            Ok(Claim::InFlight(wait)) => Found::Answer(wait.record().clone()),
            Err(error) => return Ok(store_failed(&config, &error, &parts.headers)),
        };
        // What came so far is hashed, and its memory and file are not needed for a comparison.
        drop(begun);
        match found {
            Found::Answer(record) => {
                dismiss(rest.body, untouched, &parts.headers).await;
                Ok(answer(&config, record, parts).await)
            }
            Found::Print(print, record) => match rest.hash(&head).await {
                Ok(mine) if mine == print => Ok(answer(&config, record, parts).await),
                Ok(_) => Ok(key_reused(&config, &parts.headers)),
                Err(error) => Ok(incomplete(&config, &*error, &parts.headers)),
            },
        }
    }
}

/// What stands in the way of a streamed request.
enum Found {
    /// This record, whatever the body is.
    Answer(Record),
    /// This record, if the request has this fingerprint.
    Print(Fingerprint, Record),
}

/// The answer to a request with this fingerprint, whole, whose key is held under another.
pub(super) async fn mismatched(
    config: &Config,
    record: Record,
    head: &Head,
    print: Fingerprint,
    parts: Parts,
) -> Response<Body> {
    if config.profile.mismatch == Mismatch::Replay {
        // Nobody compares now; the record is from when somebody did.
        return answer(config, record, parts).await;
    }
    if record.fingerprint() != head.streamed() {
        return key_reused(config, &parts.headers);
    }
    // The key's first request was streamed: its own fingerprint came later, if it came.
    let first = match record.state() {
        State::Complete => streamed_print::of_record(&record),
        State::InFlight | State::InDoubt => Ok(None),
    };
    match first {
        Ok(Some(first)) if first != print => key_reused(config, &parts.headers),
        Ok(_) => answer(config, record, parts).await,
        Err(error) => store_failed(config, &error, &parts.headers),
    }
}

fn key_reused(config: &Config, headers: &HeaderMap) -> Response<Body> {
    refuse(config, &Condition::KeyReused, Decision::Mismatch, headers)
}

/// Reads on, for a bounded while, so that the sender comes to read the answer; unless it waits for
/// leave to send at all (C14).
pub(super) async fn dismiss<B>(rest: std::pin::Pin<Box<B>>, untouched: bool, headers: &HeaderMap)
where
    B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>>,
{
    if !(untouched && headers.contains_key(EXPECT)) {
        drain(rest).await;
    }
}
