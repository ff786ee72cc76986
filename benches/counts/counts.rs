//! How many instructions the hot paths take: each line of `baseline.txt` is a function here, called
//! once under Callgrind after its setup, which is not counted. `make counts` compares.

use std::hint::black_box;

use gungraun::prelude::*;
use http::{HeaderMap, HeaderValue};
use onceward::fuzzing::{Parts, checksum, identity, read_key};
use onceward::http::Profile;
use onceward::{Claim, Store};
use onceward_counts::{
    CALLS, Closed, Filled, Layered, Text, fingerprint, key, payload, sure, text,
};

/// Every byte of a payload, as whoever sends it on touches it.
fn read(payload: &[u8]) -> u64 {
    payload
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .fold(0, u64::wrapping_add)
}

#[library_benchmark]
#[bench::hit(setup = Filled::new)]
fn get_hit(filled: Filled) -> (Filled, u64) {
    let mut sum = 0_u64;
    for text in &filled.known {
        let record = sure(filled.store.get(key(black_box(text))));
        sum = sum.wrapping_add(record.map_or(0, |it| sure(it.read(read)).unwrap_or_default()));
    }
    (filled, sum)
}

#[library_benchmark]
#[bench::hits(setup = Filled::new)]
fn get_many(filled: Filled) -> (Filled, u64) {
    let keys: Vec<_> = filled.known.iter().map(key).collect();
    let mut sum = 0_u64;
    for record in filled.store.get_many(black_box(&keys)) {
        let read = sure(record).map(|record| sure(record.read(read)).unwrap_or_default());
        sum = sum.wrapping_add(read.unwrap_or_default());
    }
    drop(keys);
    (filled, sum)
}

#[library_benchmark]
#[bench::head(setup = Filled::new)]
fn get_head(filled: Filled) -> (Filled, usize) {
    let states =
        filled.known.iter().filter(|text| sure(filled.store.get(key(black_box(text)))).is_some());
    let found = states.count();
    (filled, found)
}

#[library_benchmark]
#[bench::miss(setup = Filled::new)]
fn get_miss(filled: Filled) -> (Filled, usize) {
    let found =
        filled.unknown.iter().filter(|text| sure(filled.store.get(key(black_box(text)))).is_some());
    let found = found.count();
    (filled, found)
}

#[library_benchmark]
#[bench::replay(setup = Filled::new)]
fn claim_replay(filled: Filled) -> (Filled, usize) {
    let replays = black_box(&filled).claims();
    (filled, replays)
}

#[library_benchmark]
#[bench::replays(setup = Filled::new)]
fn claim_many(filled: Filled) -> (Filled, usize) {
    let replays = black_box(&filled).claims_together();
    (filled, replays)
}

#[library_benchmark]
#[bench::mismatch(setup = Filled::new)]
fn claim_mismatch(filled: Filled) -> (Filled, usize) {
    let other = fingerprint(&[b'x'; 36]);
    let refused = filled
        .known
        .iter()
        .filter(|text| matches!(filled.claim(black_box(text), other), Claim::Mismatch(_)));
    let refused = refused.count();
    (filled, refused)
}

#[library_benchmark]
#[bench::in_flight(setup = Filled::in_flight)]
fn claim_in_flight(filled: Filled) -> (Filled, usize) {
    let waits = filled.known.iter().filter(|text| {
        matches!(filled.claim(black_box(text), fingerprint(text)), Claim::InFlight(_))
    });
    let waits = waits.count();
    (filled, waits)
}

#[library_benchmark]
#[bench::alone(setup = Filled::new)]
fn cycle(mut filled: Filled) -> Filled {
    let texts = std::mem::take(&mut filled.unknown);
    filled.cycles(black_box(texts));
    filled
}

#[library_benchmark]
#[bench::results(setup = Filled::behind)]
fn checkpoint(filled: Filled) -> Filled {
    sure(black_box(&filled).store.checkpoint());
    filled
}

#[library_benchmark]
#[bench::expired(setup = Filled::expired)]
fn sweep(filled: Filled) -> Filled {
    sure(black_box(&filled).store.sweep());
    filled
}

#[library_benchmark]
#[bench::closed(setup = Closed::new)]
fn open(closed: Closed) -> (Closed, Store) {
    let store = black_box(&closed).open();
    (closed, store)
}

#[library_benchmark]
#[bench::no_key(setup = Layered::without_key)]
fn layer_no_key(mut layered: Layered) -> (Layered, usize) {
    let answered = black_box(&mut layered).call();
    (layered, answered)
}

#[library_benchmark]
#[bench::replay(setup = Layered::replaying)]
fn layer_replay(mut layered: Layered) -> (Layered, usize) {
    let answered = black_box(&mut layered).call();
    (layered, answered)
}

fn result() -> Parts {
    Parts::new(key(&text(1)), &payload())
}

fn texts() -> Vec<Text> {
    (0..CALLS).map(text).collect()
}

fn headers() -> (Vec<HeaderMap>, Profile) {
    let headers = texts().into_iter().map(|text| {
        let quoted = [&b"\""[..], &text, b"\""].concat();
        let value = sure(HeaderValue::from_bytes(&quoted));
        let others = [("host", "api.example"), ("content-type", "application/json")];
        let mut headers: HeaderMap = others
            .into_iter()
            .map(|(name, value)| (name.parse(), HeaderValue::from_static(value)))
            .map(|(name, value)| (sure(name), value))
            .collect();
        headers.insert("idempotency-key", value);
        headers
    });
    (headers.collect(), Profile::standard())
}

#[library_benchmark]
#[bench::complete(setup = result)]
fn frame_encode(mut parts: Parts) -> (Parts, usize) {
    let octets = (0..CALLS).map(|_| black_box(&mut parts).encode()).sum();
    (parts, octets)
}

#[library_benchmark]
#[bench::complete(setup = result)]
fn frame_decode(parts: Parts) -> (Parts, usize) {
    let read = (0..CALLS).filter_map(|_| black_box(&parts).decode()).count();
    (parts, read)
}

#[library_benchmark]
#[bench::replay(setup = result)]
fn decide(parts: Parts) -> (Parts, usize) {
    let mine = fingerprint(&text(1));
    let replays = (0..CALLS).filter(|_| black_box(&parts).decide(black_box(mine))).count();
    (parts, replays)
}

#[library_benchmark]
#[bench::octets_512(setup = payload)]
fn crc(payload: bytes::Bytes) -> (bytes::Bytes, u32) {
    let sum = (0..CALLS).map(|_| checksum(black_box(&payload))).fold(0, |sum, crc| sum ^ crc);
    (payload, sum)
}

#[library_benchmark]
#[bench::uuid(setup = texts)]
fn identity_hash(texts: Vec<Text>) -> (Vec<Text>, u128) {
    let sum = texts
        .iter()
        .map(|text| identity(key(black_box(text)), b"sixteen octets.."))
        .fold(0, |sum, it| sum ^ it);
    (texts, sum)
}

#[library_benchmark]
#[bench::uuid(setup = headers)]
fn key_header(headers: (Vec<HeaderMap>, Profile)) -> ((Vec<HeaderMap>, Profile), usize) {
    let keys =
        headers.0.iter().filter(|it| matches!(read_key(black_box(it), &headers.1), Ok(Some(_))));
    let keys = keys.count();
    (headers, keys)
}

library_benchmark_group!(
    name = store,
    benchmarks = [
        get_hit,
        get_many,
        get_head,
        get_miss,
        claim_replay,
        claim_many,
        claim_mismatch,
        claim_in_flight,
        cycle,
        checkpoint,
        sweep,
        open
    ]
);
library_benchmark_group!(name = layer, benchmarks = [layer_no_key, layer_replay]);
library_benchmark_group!(
    name = parts,
    benchmarks = [frame_encode, frame_decode, decide, crc, identity_hash, key_header]
);
main!(library_benchmark_groups = [store, layer, parts]);
