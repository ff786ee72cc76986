//! One caller never reaches another's record (PROOF "cross-tenant", C8, X7).

use std::collections::HashSet;

use http::{Method, Uri};
use onceward::http::Profile;
use onceward::{Claim, Durability, Fingerprint, Key, Options};

use crate::random;
use crate::serve_support::{Gateway, Message, Upstream, exchange, response};

const PAIRS: usize = 100_000;

/// Octets that somebody might separate parts by, and a few that nobody would.
const ALPHABET: [u8; 14] =
    [b'a', b'b', b':', b'/', b'|', b',', b'.', b' ', b'\n', b'"', 0, 1, 2, 0xff];

/// The same octets cut into two parts at two places.
fn cut_twice(random: &mut fastrand::Rng) -> [(Vec<u8>, Vec<u8>); 2] {
    let octets: Vec<u8> =
        (0..random.usize(3..24)).map(|_| *random.choice(&ALPHABET).unwrap()).collect();
    let places: Vec<usize> = random.choose_multiple(0..octets.len(), 2);
    [places[0], places[1]].map(|at| (octets[..at].to_vec(), octets[at..].to_vec()))
}

#[test]
fn c8_parts_that_run_into_one_another_are_other_fingerprints() {
    let mut random = random();
    for _ in 0..PAIRS {
        let [one, other] = cut_twice(&mut random);
        let of =
            |(a, b): &(Vec<u8>, Vec<u8>)| Fingerprint::hasher().part(a).part(b).clone().finish();
        assert_ne!(of(&one), of(&other), "{one:?} {other:?}");
    }
}

// (principal, method, path) written after one another are the same octets in both of a pair: part of
// the path of one is the principal of the other, or the first letter of the method is.
#[test]
fn c8_x7_principal_method_and_path_never_name_another_callers_scope() {
    let mut random = random();
    let profile = Profile::oec();
    let word = |random: &mut fastrand::Rng, from: &[u8]| -> String {
        (0..random.usize(1..5)).map(|_| char::from(*random.choice(from).unwrap())).collect()
    };
    for nth in 0..PAIRS {
        let principal = word(&mut random, b"abP:/|");
        let [first, second] = [0, 1].map(|_| word(&mut random, b"POST"));
        let [outer, inner] = [0, 1].map(|_| format!("/{}", word(&mut random, b"aPO:/.")));
        let scope = |principal: &str, method: &str, path: &str| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            // One that begins with two slashes would be read as an authority.
            let target = Uri::builder().path_and_query(path).build().unwrap();
            profile.scope_of(Some(principal.as_bytes()), &method, &target)
        };
        let (one, other) = if nth % 2 == 0 {
            (
                scope(&principal, &first, &format!("{outer}{second}{inner}")),
                scope(&format!("{principal}{first}{outer}"), &second, &inner),
            )
        } else {
            let (head, tail) = first.split_at(1);
            let whole = format!("{tail}{second}");
            (
                scope(&principal, &format!("{first}{second}"), &inner),
                scope(&format!("{principal}{head}"), &whole, &inner),
            )
        };
        assert_ne!(one, other, "{principal:?} {first:?} {second:?} {outer:?} {inner:?}");
    }
    let (post, target) = (Method::POST, Uri::from_static("/"));
    let everyone = profile.scope_of(None, &post, &target);
    assert_ne!(everyone, profile.scope_of(Some(b""), &post, &target), "everyone is nobody's name");
}

#[test]
fn c8_scope_and_key_that_run_into_one_another_are_two_records() {
    let mut random = random();
    let parent = tempfile::tempdir().unwrap();
    let options = Options::new().durability(Durability::Buffered);
    let store = options.open(parent.path().join("data")).unwrap();
    let mut used = HashSet::new();
    let mut pairs = 0;
    while pairs < 2_000 {
        let both = cut_twice(&mut random);
        if both.iter().any(|pair| used.contains(pair)) {
            continue;
        }
        pairs += 1;
        for (scope, key) in both {
            let claim = store
                .blocking_claim(Key::new(&scope, &key).unwrap(), Fingerprint::of("a"))
                .unwrap();
            let Claim::Granted(ticket) = claim else { panic!("{scope:?} {key:?}: {claim:?}") };
            ticket.blocking_complete([&scope[..], b"\0", &key[..]].concat()).unwrap();
            used.insert((scope, key));
        }
    }
    for (scope, key) in &used {
        let record = store.get(Key::new(scope, key).unwrap()).unwrap().unwrap();
        let own = [&scope[..], b"\0", &key[..]].concat();
        assert_eq!(record.payload().unwrap().unwrap(), own, "its own and no other");
    }
}

/// Callers by the value of the field they are known by.
const CALLERS: [&str; 12] = [
    "acct_1",
    "acct_2",
    "acct_1 acct_2",
    "acct_1,acct_2",
    "acct_1, acct_2",
    "acct_1;a=1",
    "\"acct_1\"",
    "ACCT_1",
    "acct_1%20",
    "acct_1/v1/sites",
    "POST",
    "*",
];

/// An upstream that answers `GET /auth` with who the caller is, and counts the rest.
fn vouching() -> Upstream {
    let count = std::sync::atomic::AtomicU32::new(1);
    Upstream::start(move |request, wire| {
        if request.start.starts_with("GET /auth ") {
            let who = request.one("authorization").strip_prefix("Bearer ").unwrap();
            wire.send(response("200 OK", &format!("X-Account: {who}\r\n"), ""));
        } else {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mine = format!("{number} for {}", request.all("x-account").join("+"));
            wire.send(response("201 Created", "", &mine));
        }
        true
    })
}

#[test]
fn c8_a_replay_never_reaches_another_principal_whatever_tells_them_apart() {
    for rule in ["header:X-Account", "authorization", "auth-request:/auth:X-Account"] {
        for profile in ["standard", "managed-dev", "magnolia"] {
            let upstream = vouching();
            let flags = ["--principal", rule, "--profile", profile];
            let gateway = Gateway::start(&upstream.url(), &flags);
            let send = |who: &str| -> Message {
                let request = format!(
                    "POST /v1/sites HTTP/1.1\r\nHost: a\r\nIdempotency-Key: one-key\r\n\
                     Authorization: Bearer {who}\r\nX-Account: {who}\r\nContent-Length: 2\r\n\r\n{{}}"
                );
                exchange(gateway.address, request)
            };
            let first = CALLERS.map(|who| send(who).text().to_owned());
            let mut apart: Vec<&String> = first.iter().collect();
            apart.sort();
            apart.dedup();
            assert_eq!(apart.len(), CALLERS.len(), "{rule} {profile}: {first:#?}");
            for (who, text) in CALLERS.iter().zip(&first) {
                assert!(text.ends_with(&format!(" for {who}")), "{rule} {profile}: {text}");
                assert_eq!(send(who).text(), text, "{rule} {profile}: each has its own replay");
            }
        }
    }
}

/// The fourth rule: everyone is one caller, which is what it says, and the log says it at the start.
#[test]
fn c8_single_tenant_makes_everyone_one_caller_and_says_so() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &["--principal", "single-tenant"]);
    let send = |who: &str| {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nX-Account: {who}\r\n\
             Content-Length: 0\r\n\r\n"
        );
        exchange(gateway.address, request).text().to_owned()
    };
    assert_eq!((send("acct_1"), send("acct_2")), ("1".to_owned(), "1".to_owned()));
    assert!(gateway.stop().join("\n").contains("every caller is the same one"));
}

/// A field given twice names nobody: neither of the two is taken for the caller.
#[test]
fn c8_a_principal_given_twice_is_none() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &["--principal", "header:X-Account"]);
    let send = |lines: &str| {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        exchange(gateway.address, request)
    };
    assert_eq!(send("X-Account: acct_1\r\n").text(), "1");
    let twice = ["acct_1", "acct_2"].map(|who| format!("X-Account: {who}\r\n")).concat();
    let both = send(&twice);
    assert_eq!((both.text(), both.one("onceward-key-ignored")), ("2", "no-principal"));
    let empty = send("X-Account:  \r\n");
    assert_eq!((empty.text(), empty.one("onceward-key-ignored")), ("3", "no-principal"));
}
