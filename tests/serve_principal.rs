//! Whose keys are whose, and what of that is seen in the log.
#![cfg(feature = "cli")]
// A test, and what it is made of, fails by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod serve_support;

use serve_support::{Gateway, Message, Upstream, Wire, exchange, response};

/// A POST of one body with one key, and these header lines (each with its line end).
fn post(lines: &str) -> String {
    format!(
        "POST /v1/sites HTTP/1.1\r\nHost: api.example\r\nIdempotency-Key: canary-key\r\n{lines}\
         Content-Length: 2\r\n\r\n{{}}"
    )
}

fn replayed(answer: &Message) -> bool {
    !answer.all("idempotency-replayed").is_empty()
}

#[test]
fn c8_the_authorization_tells_callers_apart() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &[]);
    let as_one = post("Authorization: Bearer one\r\n");
    assert_eq!(exchange(gateway.address, &as_one).text(), "1");
    let other = exchange(gateway.address, post("Authorization: Bearer two\r\n"));
    assert_eq!((other.text(), replayed(&other)), ("2", false));
    let again = exchange(gateway.address, &as_one);
    assert_eq!((again.text(), replayed(&again)), ("1", true));
}

#[test]
fn c8_a_caller_without_a_principal_is_passed_on_and_told_so() {
    for flags in [&[][..], &["--principal", "header:X-Account"], &["--profile", "managed-dev"]] {
        let upstream = Upstream::counting();
        let gateway = Gateway::start(&upstream.url(), flags);
        for expected in ["1", "2"] {
            let answer = exchange(gateway.address, post(""));
            assert_eq!((answer.text(), replayed(&answer)), (expected, false), "{flags:?}");
            assert_eq!(answer.one("onceward-key-ignored"), "no-principal");
        }
        let said = gateway.stop();
        let told: Vec<&String> =
            said.iter().filter(|line| line.contains("key was ignored")).collect();
        let [told] = told[..] else { panic!("once a minute: {said:#?}") };
        assert!(told.contains("in the gateway, `principal`"), "which setting: {told}");
        let each = said.iter().filter(|line| line.contains("decision=\"no-principal\""));
        assert_eq!(each.count(), 2, "{said:#?}");
    }
}

/// An upstream that vouches for a caller and does not say for whom.
#[test]
fn c8_an_auth_request_that_names_nobody_passes_the_request_on() {
    let upstream = Upstream::counting();
    let flags = ["--principal", "auth-request:/auth:X-Account"];
    let gateway = Gateway::start(&upstream.url(), &flags);
    let answer = exchange(gateway.address, post("Authorization: Bearer one\r\n"));
    assert_eq!((answer.status(), answer.text()), (201, "2"), "asked, and then sent");
    assert_eq!(answer.one("onceward-key-ignored"), "no-principal");
    let keyless = post("").replace("Idempotency-Key: canary-key\r\n", "");
    assert_eq!(exchange(gateway.address, keyless).text(), "3", "nobody is asked without a key");
}

/// The upstream is down: nobody can say who the caller is, so nothing is claimed and nothing sent.
#[test]
fn c8_an_auth_request_that_is_not_answered_is_an_error_and_nothing_is_claimed() {
    let upstream = Upstream::start(|_, _| false);
    let flags = ["--principal", "auth-request:/auth:X-Account"];
    let gateway = Gateway::start(&upstream.url(), &flags);
    let answer = exchange(gateway.address, post("Authorization: Bearer one\r\n"));
    assert_eq!(answer.status(), 502);
    // The question broke, and nothing else was sent: nothing of the request is in doubt.
    assert!(answer.text().contains("upstream-unreachable"), "{answer:?}");
    assert!(answer.text().contains("\"retryable\":true"), "{answer:?}");
    assert_eq!(upstream.requests().len(), 1, "the question, and nothing else");
    let said = gateway.stop().join("\n");
    assert!(said.contains("decision=\"before-the-store\""), "{said}");
}

/// The upstream takes too long to say who the caller is: as when it says nothing.
#[test]
fn c8_an_auth_request_that_is_late_is_an_error_and_nothing_is_claimed() {
    let (asked, is_asked) = std::sync::mpsc::channel::<()>();
    let is_asked = std::sync::Mutex::new(is_asked);
    let upstream = Upstream::start(move |_, _| {
        // Until the test is over, which drops the other end.
        let _ = is_asked.lock().unwrap().recv();
        false
    });
    let flags = ["--principal", "auth-request:/auth:X-Account", "--upstream-timeout", "50ms"];
    let gateway = Gateway::start(&upstream.url(), &flags);
    let answer = exchange(gateway.address, post("Authorization: Bearer one\r\n"));
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("upstream-unreachable"), "{answer:?}");
    assert_eq!(answer.one("content-type"), "application/problem+json");
    assert_eq!(upstream.requests().len(), 1, "the question, and nothing else");
    drop(asked);
}

/// A request of 3 MiB whose caller nobody vouches for: the refusal arrives, and the connection goes on.
#[test]
fn a_refused_caller_is_told_so_whatever_is_still_under_way() {
    let upstream = Upstream::start(|_, wire| {
        wire.send(response("401 Unauthorized", "", "who?"));
        true
    });
    let gateway = Gateway::start(&upstream.url(), &["--principal", "auth-request:/auth:X-Account"]);
    let mut wire = Wire::to(gateway.address);
    let body = "x".repeat(3 << 20);
    let head = post("").replace("Content-Length: 2\r\n\r\n{}", "");
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    for _ in 0..2 {
        wire.send(&request);
        let refused = wire.message().unwrap();
        assert_eq!((refused.status(), refused.text()), (401, "who?"));
    }
}

#[test]
fn a_header_set_in_front_tells_callers_apart() {
    let upstream = Upstream::counting();
    let mut gateway = Gateway::start(&upstream.url(), &["--principal", "header:X-Account"]);
    exchange(gateway.address, post("X-Account: 1\r\nAuthorization: Bearer old\r\n"));
    let rotated = exchange(gateway.address, post("X-Account: 1\r\nAuthorization: Bearer new\r\n"));
    assert_eq!((rotated.text(), replayed(&rotated)), ("1", true));
    assert_eq!(exchange(gateway.address, post("X-Account: 2\r\n")).text(), "2");
    let twice = exchange(gateway.address, post("X-Account: 1\r\nX-Account: 2\r\n"));
    assert_eq!(twice.one("onceward-key-ignored"), "no-principal");
    gateway.terminate();
    gateway.line("drained");
    let said = gateway.ended().1.join("\n");
    assert!(said.contains("must set it, and remove what callers send"), "{said}");
}

#[test]
fn everyone_may_be_one() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &["--principal", "single-tenant"]);
    exchange(gateway.address, post(""));
    assert!(replayed(&exchange(gateway.address, post("Authorization: Bearer two\r\n"))));
    assert!(gateway.stop().join("\n").contains("every caller is the same one"));
}

/// An upstream that knows two tokens of one account and refuses the rest, at `/auth` as elsewhere.
fn with_accounts() -> Upstream {
    Upstream::start(|request, wire| {
        let account = match request.all("authorization")[..] {
            ["Bearer old" | "Bearer new"] => "acct_1",
            ["Bearer other"] => "acct_2",
            _ => {
                wire.send(response("401 Unauthorized", "WWW-Authenticate: Bearer\r\n", "who?"));
                return true;
            }
        };
        if request.start.starts_with("GET /auth ") {
            wire.send(response("200 OK", &format!("X-Account: {account}\r\n"), "welcome"));
        } else {
            wire.send(response("201 Created", "", account));
        }
        true
    })
}

#[test]
fn an_auth_request_survives_rotation_and_obeys_revocation() {
    let upstream = with_accounts();
    let flags = ["--principal", "auth-request:/auth:X-Account"];
    let gateway = Gateway::start(&upstream.url(), &flags);
    let with = |token: &str| {
        exchange(gateway.address, post(&format!("Authorization: Bearer {token}\r\n")))
    };
    assert_eq!(with("old").text(), "acct_1");
    let rotated = with("new");
    assert_eq!((rotated.text(), replayed(&rotated)), ("acct_1", true));
    assert_eq!(with("other").text(), "acct_2");
    let revoked = with("revoked");
    assert_eq!((revoked.status(), revoked.text()), (401, "who?"));
    assert_eq!(revoked.one("www-authenticate"), "Bearer");
    let requests = upstream.requests();
    let asked: Vec<&Message> =
        requests.iter().filter(|request| request.start.starts_with("GET /auth ")).collect();
    assert_eq!((asked.len(), requests.len()), (4, 6), "two were executed");
    for question in asked {
        assert!(question.all("idempotency-key").is_empty());
        assert!(question.all("content-length").is_empty());
        assert_eq!(question.one("x-forwarded-method"), "POST");
        assert_eq!(question.one("x-forwarded-uri"), "/v1/sites");
        assert_eq!(question.one("host"), "api.example");
    }
}

#[test]
fn d7_a_key_that_is_required_is_missed_whoever_asks() {
    let upstream = with_accounts();
    let flags = ["--principal", "auth-request:/auth:X-Account", "--profile", "ietf"];
    let gateway = Gateway::start(&upstream.url(), &flags);
    let keyless = |token: &str| {
        let request = post(&format!("Authorization: Bearer {token}\r\n"));
        exchange(gateway.address, request.replace("Idempotency-Key: canary-key\r\n", ""))
    };
    let missing = keyless("old");
    assert_eq!(missing.status(), 400);
    assert!(missing.text().contains("missing-key"), "{missing:?}");
    assert_eq!(keyless("revoked").status(), 401);
    assert!(upstream.requests().iter().all(|request| request.start.starts_with("GET /auth ")));
}

#[test]
fn d12_each_keyed_request_is_logged_without_its_key() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &["--log-format", "json", "--log", "debug"]);
    let as_one = post("Authorization: Bearer canary-token\r\n");
    exchange(gateway.address, &as_one);
    exchange(gateway.address, &as_one);
    exchange(gateway.address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let said = gateway.stop();
    let lines: Vec<&String> = said.iter().filter(|line| line.contains("keyed request")).collect();
    let [first, second] = lines[..] else { panic!("{said:#?}") };
    assert!(first.contains("\"decision\":\"fresh\""), "{first}");
    assert!(second.contains("\"decision\":\"replayed\""), "{second}");
    for line in [first, second] {
        // SHA-256("canary-key"), its first eight octets.
        assert!(line.contains("\"key\":\"0b8bdfd5fe8e2887\""), "{line}");
        assert!(line.contains("\"status\":201"), "{line}");
    }
    for canary in ["canary-key", "canary-token"] {
        assert!(!said.join("\n").contains(canary), "{canary} in {said:#?}");
    }
}
