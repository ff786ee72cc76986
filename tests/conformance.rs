//! The conformance suite against the gateway and the library, which keep every profile's promises,
//! and against servers that each break one, which it must notice at that one's numbers.
#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod conformance_support;

use std::sync::Mutex;
use std::time::Duration;

use conformance_support::{Gateway, Library, Report, Upstream, suite};
use onceward::http::{
    Dialect, KeySyntax, Mismatch, OnError, OversizeResponse, Profile, Query, Scope,
};

/// How long results live, and how long where the suite waits for their end. There nothing else is
/// checked: on a busy machine a check may take longer.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);
const TTL_BRIEF: Duration = Duration::from_secs(1);

/// Broken servers that are tried at once.
const AT_ONCE: usize = 6;

/// Numbers that every run against the gateway shows, whatever the profile.
const ALWAYS: [&str; 26] = [
    "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C10", "C12", "C16", "C17", "C18", "C19",
    "C20", "C22", "C23", "C24", "C25", "C27", "C28", "C29", "C30", "C31", "C37", "C47",
];

/// Runs `check` for every profile at once: most of the time somebody waits for a disk.
fn for_every_profile(check: impl Fn(&Profile) + Sync) {
    std::thread::scope(|scope| {
        for profile in Profile::all() {
            let check = &check;
            scope.spawn(move || check(&profile));
        }
    });
}

fn assert_conforms(report: &Report) {
    assert!(report.succeeded, "{report:#?}");
    assert_eq!(report.failed(), [""; 0], "{report:#?}");
    for number in ALWAYS {
        assert_eq!(report.result(number), "pass", "{number}: {report:#?}");
    }
}

/// M, G, O, D, X and C, as far as HTTP shows them.
#[test]
fn the_gateway_conforms_to_every_profile() {
    let upstream = Upstream::start();
    for_every_profile(|profile| {
        let gateway = Gateway::start(&upstream.url, &profile.name, TTL);
        let report = suite(&gateway.url, &profile.name, &[]);
        assert_conforms(&report);
        for number in ["C13", "C14", "C15", "C21", "C34"] {
            assert_eq!(report.result(number), "pass", "{number}: {report:#?}");
        }
        assert_conforms(&suite(&gateway.url, &profile.name, &["--http2"]));
        let brief = Gateway::start(&upstream.url, &profile.name, TTL_BRIEF);
        let ttl = format!("{}ms", TTL_BRIEF.as_millis());
        let numbers = ["X9", "C40", "C41", "C42", "C43"];
        let report =
            suite(&brief.url, &profile.name, &["--ttl", &ttl, "--only", &numbers.join(",")]);
        for number in numbers {
            assert_eq!(report.result(number), "pass", "{number}: {report:#?}");
        }
    });
}

/// The same contract in one process with the layer, where a handler can panic.
#[test]
fn the_library_conforms_to_every_profile() {
    for_every_profile(|profile| {
        let library = Library::start(profile.clone());
        let report = suite(&library.url, &profile.name, &[]);
        assert_conforms(&report);
        assert_eq!(report.result("C32"), "pass", "{report:#?}");
        assert_conforms(&suite(&library.url, &profile.name, &["--http2"]));
    });
}

/// An API without the contract is checked as far as its one path goes.
#[test]
fn an_api_of_ones_own_is_checked_by_its_create_path() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.url, "standard", TTL);
    let report = suite(&gateway.url, "standard", &["--create-path", "/v1/sites"]);
    assert_eq!(report.failed(), [""; 0], "{report:#?}");
    for number in ["D6", "D8", "C1", "C2", "C3", "C4", "C5", "C8", "C14", "C15", "C39", "C47"] {
        assert_eq!(report.result(number), "pass", "{number}: {report:#?}");
    }
    for number in ["C16", "C25", "C31", "C37"] {
        assert_eq!(report.result(number), "not-applicable", "{number} needs the contract");
    }
    let bare = suite(&upstream.url, "standard", &["--create-path", "/v1/sites"]);
    assert!(!bare.succeeded);
    for number in ["D6", "D8", "C1", "C8"] {
        assert_eq!(bare.result(number), "fail", "{number}: {bare:#?}");
    }
}

#[test]
fn no_layer_at_all_keeps_no_promise() {
    let upstream = Upstream::start();
    for_every_profile(|profile| {
        let report = suite(&upstream.url, &profile.name, &["--only", "C1,C2,C3,C16,C25,C29,C37"]);
        assert!(!report.succeeded);
        assert_eq!(report.failed(), ["C1", "C2", "C3", "C16", "C25", "C29", "C37"], "{report:#?}");
    });
}

/// A server that breaks one promise of `of`, and the numbers at which that shows, and no others.
struct Broken {
    how: &'static str,
    of: fn() -> Profile,
    breaks: fn(&mut Profile),
    numbers: &'static [&'static str],
}

const BROKEN: &[Broken] = &[
    Broken {
        how: "nobody compares requests",
        of: Profile::standard,
        breaks: |profile| profile.mismatch = Mismatch::Replay,
        numbers: &[
            "G13", "D2", "D8", "X2", "X7", "X8", "C9", "C10", "C11", "C12", "C13", "C14", "C38",
            "C39",
        ],
    },
    Broken {
        how: "requests are compared",
        of: Profile::oec,
        breaks: |profile| {
            profile.mismatch = Mismatch::Reject(http::StatusCode::UNPROCESSABLE_ENTITY);
        },
        numbers: &["O12", "X2", "X8", "C11", "C12", "C38"],
    },
    Broken {
        how: "a mismatch has another status",
        of: Profile::managed_dev,
        breaks: |profile| {
            profile.mismatch = Mismatch::Reject(http::StatusCode::UNPROCESSABLE_ENTITY);
        },
        numbers: &["M16", "X2", "X7", "X8", "C9", "C10", "C11", "C12", "C13", "C38", "C39"],
    },
    Broken {
        how: "the query does not count",
        of: Profile::standard,
        breaks: |profile| profile.query = Query::Ignore,
        numbers: &["C10"],
    },
    Broken {
        how: "a key belongs to its path",
        of: Profile::standard,
        breaks: |profile| profile.scope = Scope::PrincipalAndRoute,
        numbers: &["X7", "C9"],
    },
    Broken {
        how: "a key belongs to its caller on all paths",
        of: Profile::oec,
        breaks: |profile| profile.scope = Scope::Principal,
        numbers: &["O11", "X7", "C9"],
    },
    Broken {
        how: "unlisted paths are protected",
        of: Profile::oec,
        breaks: |profile| profile.enforce_unlisted = true,
        numbers: &["O7", "X15"],
    },
    Broken {
        how: "nobody is told that a key was ignored",
        of: Profile::standard,
        breaks: |profile| profile.report_ignored = false,
        numbers: &["G1", "C8"],
    },
    Broken {
        how: "long keys are refused",
        of: Profile::standard,
        breaks: |profile| profile.key_octets_max = 100,
        numbers: &["G22", "C3"],
    },
    Broken {
        how: "keys have to be quoted",
        of: Profile::ietf,
        breaks: |profile| profile.key_syntax = KeySyntax::Lenient,
        numbers: &["D1", "X14", "C5"],
    },
    Broken {
        how: "a key is not required",
        of: Profile::ietf,
        breaks: |profile| profile.key_required = false,
        numbers: &["G2", "G18", "D7", "X6", "X11", "C47"],
    },
    Broken {
        how: "PATCH is not protected",
        of: Profile::magnolia,
        breaks: |profile| profile.methods.truncate(1),
        numbers: &["G5", "G6", "X5", "X7", "C9"],
    },
    Broken {
        how: "PUT is protected",
        of: Profile::standard,
        breaks: |profile| profile.methods.push(http::Method::PUT),
        numbers: &["G7", "G8", "G20", "C6", "C7"],
    },
    Broken {
        how: "a 5xx gives the key back",
        of: Profile::standard,
        breaks: |profile| profile.on_5xx = OnError::Release,
        numbers: &["C16"],
    },
    Broken {
        how: "a 4xx gives the key back",
        of: Profile::standard,
        breaks: |profile| profile.on_4xx = OnError::Release,
        numbers: &["X12", "C17", "C18"],
    },
    Broken {
        how: "no status gives a key back",
        of: Profile::standard,
        breaks: |profile| profile.release_statuses.clear(),
        numbers: &["O16", "C18", "C19", "C46"],
    },
    Broken {
        how: "a 409 is stored",
        of: Profile::oec,
        breaks: |profile| {
            profile.release_statuses.retain(|status| *status != http::StatusCode::CONFLICT);
        },
        numbers: &["X12"],
    },
    Broken {
        how: "a panic gives the key back",
        of: Profile::standard,
        breaks: |profile| profile.on_panic = OnError::Release,
        numbers: &["C32"],
    },
    Broken {
        how: "cookies are replayed",
        of: Profile::standard,
        breaks: |profile| profile.replay_set_cookie = true,
        numbers: &["C29"],
    },
    Broken {
        how: "headers of the first transmission are replayed",
        of: Profile::standard,
        breaks: |profile| profile.volatile_headers.retain(|name| name == "date"),
        numbers: &["C28"],
    },
    Broken {
        how: "little is kept of a response",
        of: Profile::standard,
        breaks: |profile| profile.response_octets_max = 100_000,
        numbers: &["C25"],
    },
    Broken {
        how: "the body of a long response is left out",
        of: Profile::standard,
        breaks: |profile| profile.oversize_response = OversizeResponse::OmitBody,
        numbers: &["C24"],
    },
    Broken {
        how: "long requests are refused",
        of: Profile::standard,
        breaks: |profile| profile.request_octets_max = 1 << 16,
        numbers: &["C13"],
    },
    Broken {
        how: "replays are marked",
        of: Profile::managed_dev,
        breaks: |profile| profile.marker = Profile::standard().marker,
        numbers: &["X10", "X13"],
    },
];

/// Runs the suite against a server that is broken so, and says what came that was not due.
fn shows_elsewhere(broken: &Broken) -> Option<String> {
    let mut profile = (broken.of)();
    let name = profile.name.clone();
    (broken.breaks)(&mut profile);
    let library = Library::start(profile);
    let report = suite(&library.url, &name, &[]);
    assert!(!report.succeeded, "{}", broken.how);
    let due = report.concerned(broken.numbers);
    let failed = report.failed();
    (failed != due).then(|| format!("{}: {failed:?}, due {due:?}; {report:?}", broken.how))
}

#[test]
fn a_broken_promise_shows_at_its_numbers_and_at_no_others() {
    let wrong = Mutex::new(Vec::new());
    for some in BROKEN.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            for broken in some {
                let wrong = &wrong;
                scope.spawn(move || wrong.lock().unwrap().extend(shows_elsewhere(broken)));
            }
        });
    }
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// X13: without its mark, no replay is one; M16: nor is an error in another dialect the profile's.
#[test]
fn what_every_answer_has_is_missed_everywhere() {
    let mut unmarked = Profile::standard();
    unmarked.marker = None;
    let report = suite(&Library::start(unmarked).url, "standard", &["--only", "D6,X13,C16,C37"]);
    assert_eq!(report.failed(), ["D6", "X13", "C16", "C37"], "{report:#?}");
    let mut other = Profile::managed_dev();
    other.dialect = Dialect::Oec;
    let report = suite(&Library::start(other).url, "managed-dev", &["--only", "M16,X3,C1,C37"]);
    assert_eq!(report.failed(), ["M16", "X3", "C1", "C37"], "{report:#?}");
}

/// X9, C40: nothing expires early.
#[test]
fn c40_a_result_that_is_gone_too_early_is_missed() {
    let mut brief = Profile::standard();
    brief.ttl = Duration::from_millis(200);
    let library = Library::start(brief);
    let report = suite(&library.url, "standard", &["--ttl", "3s", "--only", "C40,X9,G14"]);
    assert_eq!(report.failed(), ["G14", "X9", "C40"], "{report:#?}");
}

/// C8: one tenant's key is another's.
#[test]
fn c8_a_server_that_does_not_tell_callers_apart_is_noticed() {
    let library = Library::single_tenant(Profile::standard());
    let report = suite(&library.url, "standard", &[]);
    assert_eq!(report.failed(), ["G1", "C8"], "{report:#?}");
    let told = suite(&library.url, "standard", &["--principal-header", "none"]);
    assert_eq!(told.failed(), [""; 0], "{told:#?}");
    assert_eq!(told.result("C8"), "not-applicable");
}

#[test]
fn what_is_asked_wrongly_is_a_usage_error() {
    for arguments in [
        &["--url", "nowhere"][..],
        &["--url", "http://127.0.0.1:1", "--profile", "nobody"],
        &["--url", "http://127.0.0.1:1", "--only", "Z1"],
        &["--url", "http://127.0.0.1:1", "--ttl", "soon"],
    ] {
        let output = conformance_support::run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
