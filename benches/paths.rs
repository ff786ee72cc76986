//! `cargo bench --features http --bench paths`: the hot paths that `store` has no row for, by
//! themselves: looks at a record's head, looks together, claims that are answered without a write, an
//! open until its first grant, and the layer without a network. Without `--bench` all is tried once,
//! small.

#![allow(clippy::print_stdout, reason = "a benchmark is there to print")]
#![allow(clippy::cast_precision_loss, reason = "rates are printed with three figures")]

#[allow(dead_code, reason = "shared with the benchmark that compares with redb")]
mod support;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, SamplingMode, Throughput};
use fastrand::Rng;
use http::{Request, Response};
use onceward::http::{Body, IdempotencyLayer, Profile};
use onceward::{Claim, Durability, Fingerprint, Key, Options, Store, Ticket};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::{Layer, Service, service_fn};

use support::keys::{self, Text};
use support::{Scale, directory, sure};

/// Keys in flight: as many as one scope may have by default.
const IN_FLIGHT: u64 = 4_096;
/// Keys of one call of `get_many` and of `claim_many`.
const MANY: usize = 64;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let bench = std::env::args().any(|argument| argument == "--bench");
    let scale = if bench { Scale::FULL } else { Scale::TRIAL };
    let directory = directory();
    let records = scale.records / 4;
    let store = filled(&directory, records);
    let known = keys::known(&mut Rng::with_seed(1), records, scale.lookups);
    looks(&mut criterion, &store, &known);
    claims(&mut criterion, &store, &known, IN_FLIGHT.min(records));
    sure(store.close());
    opens(&mut criterion, scale);
    layer(&mut criterion);
    criterion.final_summary();
}

/// A store with the first `records` keys complete; closed and opened again, as any store is.
fn filled(directory: &TempDir, records: u64) -> Store {
    let place = directory.path().join("store");
    let store = sure(Options::new().durability(Durability::Buffered).open(&place));
    let payload = Bytes::from(keys::payload());
    for number in 0..records {
        let text = keys::text(number);
        let ticket = granted(&store, keys::key(&text), keys::fingerprint(&text));
        sure(ticket.blocking_complete(payload.clone()));
    }
    sure(store.close());
    sure(Store::open(place))
}

fn granted(store: &Store, key: Key<'_>, fingerprint: Fingerprint) -> Ticket {
    match sure(store.blocking_claim(key, fingerprint)) {
        Claim::Granted(ticket) => ticket,
        other => panic!("a key nobody has claimed was not granted: {other:?}"),
    }
}

/// State and fingerprint of what is there, one key after another and together.
fn looks(criterion: &mut Criterion, store: &Store, known: &[Text]) {
    let mut group = criterion.benchmark_group("get");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements(1));
    group.bench_function("head", |bencher| {
        let mut turn = known.iter().cycle();
        bencher.iter(|| {
            let Some(text) = turn.next() else { return };
            let record = sure(store.get(keys::key(text)));
            assert!(record.is_some(), "a result is not there");
        });
    });
    group.throughput(Throughput::Elements(MANY as u64));
    group.bench_function("many-heads", |bencher| {
        let mut turn = known.chunks_exact(MANY).cycle();
        bencher.iter(|| {
            let texts = turn.next().unwrap_or_default();
            let wanted: Vec<Key<'_>> = texts.iter().map(keys::key).collect();
            let records = store.get_many(&wanted);
            assert!(records.iter().all(|record| matches!(record, Ok(Some(_)))));
        });
    });
    group.finish();
}

/// Claims that are answered without a write.
fn claims(criterion: &mut Criterion, store: &Store, known: &[Text], in_flight: u64) {
    let unknown = keys::unknown(&mut Rng::with_seed(2), in_flight as usize);
    let wanted: Vec<(Key<'_>, Fingerprint)> =
        unknown.iter().map(|text| (keys::key(text), keys::fingerprint(text))).collect();
    let held = store.blocking_claim_many(&wanted);
    assert!(held.iter().all(|claim| matches!(claim, Ok(Claim::Granted(_)))));
    let other = Fingerprint::of("another request");
    let mut group = criterion.benchmark_group("claim");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements(1));
    let mut bench = |name: &str, texts: &[Text], print: &dyn Fn(&Text) -> Fingerprint, is: Is| {
        group.bench_function(name, |bencher| {
            let mut turn = texts.iter().cycle();
            bencher.iter(|| {
                let Some(text) = turn.next() else { return };
                let claim = sure(store.blocking_claim(keys::key(text), print(text)));
                assert!(is(&claim), "{name}: {claim:?}");
            });
        });
    };
    bench("replay", known, &keys::fingerprint, |claim| matches!(claim, Claim::Replay(_)));
    bench("mismatch", known, &|_| other, |claim| matches!(claim, Claim::Mismatch(_)));
    bench("in-flight", &unknown, &keys::fingerprint, |claim| matches!(claim, Claim::InFlight(_)));
    // Together, as whoever has a batch of requests asks.
    group.throughput(Throughput::Elements(MANY as u64));
    group.bench_function("many-replays", |bencher| {
        let mut turn = known.chunks_exact(MANY).cycle();
        bencher.iter(|| {
            let texts = turn.next().unwrap_or_default();
            let wanted: Vec<(Key<'_>, Fingerprint)> =
                texts.iter().map(|text| (keys::key(text), keys::fingerprint(text))).collect();
            let claims = store.blocking_claim_many(&wanted);
            assert!(claims.iter().all(|claim| matches!(claim, Ok(Claim::Replay(_)))));
        });
    });
    group.finish();
    drop(held);
}

/// What a claim comes to.
type Is = fn(&Claim) -> bool;

/// An open after a clean close, until the first durable grant of a key that was never used.
fn opens(criterion: &mut Criterion, scale: Scale) {
    let directory = directory();
    sure(filled(&directory, scale.records / 4).close());
    let mut group = criterion.benchmark_group("open");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group.bench_function("to-first-grant", |bencher| {
        bencher.iter_custom(|count| {
            let mut sum = Duration::ZERO;
            for _ in 0..count {
                let text = keys::text(u64::MAX);
                let begun = Instant::now();
                let store = sure(Store::open(directory.path().join("store")));
                let ticket = granted(&store, keys::key(&text), keys::fingerprint(&text));
                sum += begun.elapsed();
                sure(ticket.blocking_release());
                sure(store.close());
            }
            sum
        });
    });
    group.finish();
}

/// The layer over a handler that only answers: without a key, and a replay.
fn layer(criterion: &mut Criterion) {
    let directory = directory();
    let store = sure(Store::open(directory.path().join("store")));
    let runtime = sure(tokio::runtime::Builder::new_current_thread().enable_time().build());
    let body = Bytes::from(keys::payload());
    let handler = service_fn(move |_: Request<Body>| {
        let response = Response::new(Body::full(body.clone()));
        async move { Ok::<_, Infallible>(response) }
    });
    let layer = IdempotencyLayer::new(store).profile(Profile::standard()).single_tenant();
    let mut service = layer.layer(handler);
    call(&runtime, &mut service, request(true));
    let mut group = criterion.benchmark_group("layer");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements(1));
    for (name, keyed) in [("no-key", false), ("replay", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || request(keyed),
                |request| call(&runtime, &mut service, request),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn call<S>(runtime: &Runtime, service: &mut S, request: Request<Body>)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let response = sure(runtime.block_on(service.call(request)));
    assert!(response.status().is_success(), "{}", response.status());
}

fn request(keyed: bool) -> Request<Body> {
    let mut request = Request::post("/v1/sites").header("host", "api.example");
    if keyed {
        request = request.header("idempotency-key", "6f1c2e9a-4b7d-4f0a-9c11-2a8e5d3b1f04");
    }
    sure(request.body(Body::full(&b"{}"[..])))
}
