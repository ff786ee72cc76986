//! Looking at keys: one, those of a hash, or a page of them all.

use bytes::Bytes;
use onceward::http::StoredResponse;
use onceward::{Cursor, Error, Fingerprint, Item, Record, State};
use serde_json::{Map, Value, json};

use super::query::Query;
use super::refusal::Refusal;
use crate::gateway::hex;
use crate::octets;
use crate::store::Engine;
use crate::timestamp::rfc3339;

/// The most keys of a page, and how many there are unless asked.
const PAGE_MAX: usize = 1000;
const PAGE: usize = 100;
/// The most records a page looks at, whether they belong into it or not: it ends soon.
const LOOKS_MAX: usize = 20_000;
/// The most keys given for one hash.
const OF_A_HASH_MAX: usize = 100;
/// The fewest octets of a hash that name a key; log lines have as many.
const HASH_OCTETS_MIN: usize = 8;

/// Which keys are listed, and where the page begins.
pub(super) struct Wanted {
    pub(super) state: Option<State>,
    pub(super) scope: Option<Vec<u8>>,
    pub(super) after: Option<Cursor>,
    pub(super) limit: usize,
    pub(super) show_keys: bool,
}

impl Wanted {
    /// Reads the parameters of a list, but for the scope.
    pub(super) fn read(query: &mut Query, scope: Option<Vec<u8>>) -> Result<Self, Refusal> {
        let state = query.take("state")?.map(|state| parse_state(&state)).transpose()?;
        let after = query.take("after")?.map(|after| after.parse()).transpose();
        let after =
            after.map_err(|_| Refusal::bad_request("`after` is the `next` of an earlier page"))?;
        let limit = match query.take("limit")? {
            None => PAGE,
            Some(limit) => {
                limit.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit)).ok_or_else(
                    || Refusal::bad_request(format!("`limit` is from 1 to {PAGE_MAX}")),
                )?
            }
        };
        let show_keys = shows_keys(query)?;
        Ok(Self { state, scope, after, limit, show_keys })
    }
}

/// Whether keys are shown as they are, and not by their hash alone: they may be guessable (D12).
pub(super) fn shows_keys(query: &mut Query) -> Result<bool, Refusal> {
    match query.take("show")?.as_deref() {
        None => Ok(false),
        Some("keys") => Ok(true),
        Some(_) => Err(Refusal::bad_request("`show` takes `keys` alone")),
    }
}

fn parse_state(word: &str) -> Result<State, Refusal> {
    [State::InDoubt, State::InFlight, State::Complete]
        .into_iter()
        .find(|state| state_word(*state) == word)
        .ok_or_else(|| Refusal::bad_request("`state` is in-doubt, in-flight or complete"))
}

pub(super) fn state_word(state: State) -> &'static str {
    match state {
        State::InFlight => "in-flight",
        State::Complete => "complete",
        State::InDoubt => "in-doubt",
    }
}

/// A page of keys, in no order but the same one each time. It may have fewer than asked for, and none:
/// there are more as long as `next` is not null.
pub(super) fn page<E: Engine>(engine: &E, wanted: &Wanted) -> Value {
    let (mut keys, mut unreadable, mut looks) = (Vec::new(), 0_u64, 0);
    let mut next = None;
    for item in engine.walk(wanted.state, wanted.after) {
        let Ok(item) = item else {
            unreadable += 1;
            continue;
        };
        looks += 1;
        let cursor = item.cursor;
        if wanted.scope.as_ref().is_none_or(|scope| *scope == item.scope) {
            keys.push(shown(&item, wanted.show_keys));
        }
        if keys.len() >= wanted.limit || looks >= LOOKS_MAX {
            next = Some(cursor.to_string());
            break;
        }
    }
    json!({ "keys": keys, "next": next, "unreadable": unreadable })
}

/// Reads a hash, or enough of its beginning.
pub(super) fn parse_hash(digits: &str) -> Result<Vec<u8>, Refusal> {
    octets::from_hex(digits).filter(|hash| (HASH_OCTETS_MIN..=32).contains(&hash.len())).ok_or_else(
        || Refusal::bad_request("a key's hash is 64 hexadecimal digits, or the first 16 at least"),
    )
}

/// The keys, in `state` if it is given, whose SHA-256 begins with `hash`. Reads every record there is.
pub(super) fn of_hash<E: Engine>(
    engine: &E,
    hash: &[u8],
    scope: Option<&[u8]>,
    state: Option<State>,
) -> Result<Vec<Item>, Error> {
    let (mut found, mut unreadable) = (Vec::new(), None);
    for item in engine.walk(state, None) {
        match item {
            Ok(item) => {
                let of_scope = scope.is_none_or(|scope| *scope == item.scope);
                if of_scope && Fingerprint::of(&item.key).as_bytes().starts_with(hash) {
                    found.push(item);
                }
                if found.len() == OF_A_HASH_MAX {
                    break;
                }
            }
            Err(error) => unreadable = Some(error),
        }
    }
    // A key that is not found may be the one that cannot be read.
    unreadable.filter(|_| found.is_empty()).map_or(Ok(found), Err)
}

/// A key and its record.
pub(super) fn shown(item: &Item, show_key: bool) -> Value {
    Value::Object(fields(&item.scope, &item.key, &item.record, show_key))
}

/// The same with what takes a look at the payload: the status of the response.
pub(super) fn shown_in_full(
    scope: &[u8],
    key: &[u8],
    record: &Record,
    show_key: bool,
) -> Result<Value, Error> {
    let mut fields = fields(scope, key, record, show_key);
    let stored = record.payload()?.and_then(|payload: Bytes| StoredResponse::decode(payload).ok());
    fields.insert("status".into(), stored.map(|stored| stored.status.as_u16()).into());
    Ok(Value::Object(fields))
}

fn fields(scope: &[u8], key: &[u8], record: &Record, show_key: bool) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("scope".into(), hex(scope).into());
    fields.insert("key_sha256".into(), hex(Fingerprint::of(key).as_bytes()).into());
    fields.insert("state".into(), state_word(record.state()).into());
    fields.insert("claimed_at".into(), rfc3339(record.claimed_at()).into());
    fields.insert("expires_at".into(), record.expires_at().map(rfc3339).into());
    fields.insert("payload_octets".into(), record.payload_octets().into());
    fields.insert("tombstone".into(), record.is_tombstone().into());
    if show_key {
        fields.insert("key".into(), String::from_utf8_lossy(key).into());
    }
    fields
}
