//! The names that programs outside the repository compile against, used as they use them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant, SystemTime};

use onceward::{
    Claim, ClaimOptions, Durability, Error, ErrorKind, Fingerprint, Key, Options, Record,
    Resolution, State, Store, SystemClock, TicketError,
};

fn opened(directory: &std::path::Path) -> Result<Store, Error> {
    Options::new()
        .ttl(Duration::from_secs(24 * 60 * 60))
        .durability(Durability::Sync)
        .max_payload(16 << 20)
        .index_memory(256 << 20)
        .max_disk(None)
        .max_disk(Some(1 << 40))
        .max_in_flight(65_536)
        .max_in_flight_per_scope(4_096)
        .clock(SystemClock::new())
        .open(directory)
}

async fn answer(store: &Store, key: &str, deadline: Instant) -> Result<String, Error> {
    let key = Key::new("acct_1", key)?;
    let print = Fingerprint::of(b"POST /v1/sites\n{...}");
    let mut claim = store.claim(key, print).await?;
    loop {
        return Ok(match claim {
            Claim::Granted(ticket) => {
                ticket.complete("created").await?;
                "granted".to_owned()
            }
            Claim::Replay(record) => format!("{:?}", record.payload()?),
            Claim::InFlight(wait) => {
                claim = wait.until(deadline).await?;
                continue;
            }
            Claim::Mismatch(_) => "mismatch".to_owned(),
            Claim::InDoubt(_) => "in doubt".to_owned(),
        });
    }
}

fn looks(store: &Store, key: Key<'_>) -> Result<Option<State>, Error> {
    let record: Option<Record> = store.get(key)?;
    let Some(record) = record else { return Ok(None) };
    let _: (Fingerprint, SystemTime, Option<SystemTime>) =
        (record.fingerprint(), record.claimed_at(), record.expires_at());
    Ok(Some(record.state()))
}

#[tokio::test]
async fn a_store_is_used_as_the_documentation_says() {
    let parent = tempfile::tempdir().unwrap();
    let store = opened(&parent.path().join("data")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    assert_eq!(answer(&store, "k", deadline).await.unwrap(), "granted");
    assert_eq!(answer(&store, "k", deadline).await.unwrap(), "Some(b\"created\")");
    assert_eq!(looks(&store, Key::new("acct_1", "k").unwrap()).unwrap(), Some(State::Complete));

    let (other, print) = (Key::new(&[7_u8; 32], "o").unwrap(), Fingerprint::from_digest([1; 32]));
    let hour = ClaimOptions::new().ttl(Duration::from_secs(3600));
    let Claim::Granted(ticket) = store.claim_with(other, print, hour).await.unwrap() else {
        panic!("a new key is granted");
    };
    let refused: TicketError<_> = ticket.complete(vec![0; (16 << 20) + 1]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PayloadTooLarge);
    refused.into_ticket().unwrap().complete_without_payload("too large").await.unwrap();

    let mut hasher = Fingerprint::hasher();
    hasher.update(b"in").update(b"parts");
    let Claim::Granted(ticket) =
        store.claim(Key::new("", "d").unwrap(), hasher.finish()).await.unwrap()
    else {
        panic!("a new key is granted");
    };
    drop(ticket);
    let resolution = Resolution::Complete("by hand".into());
    let _ = store.resolve(Key::new("", "d").unwrap(), resolution).await.unwrap();
    let report = store.sweep().unwrap();
    assert_eq!((report.expired, report.bytes_freed, report.segments_removed), (0, 0, 0));
    store.checkpoint().unwrap();
    assert_eq!(store.iter().count(), 3);
    assert_eq!(store.stats().records, 3);
    let clone = store.clone();
    store.close().unwrap();
    clone.close().unwrap();
    assert!(onceward::verify(parent.path().join("data")).unwrap().is_sound());
}
