//! Clients that people use, through the real gateway, on a network that loses answers: curl,
//! requests with urllib3's Retry, loops around fetch, and what the three documents' samples do. The
//! work is done once, and each client ends with the right answer.
//!
//! The clients stand in `tests/clients`; one that is missing fails its test.
#![cfg(all(feature = "cli", unix))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod serve_support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serve_support::{Gateway, Message, PATIENCE, Upstream, Wire, response};

/// What happens on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The first answer is lost, and its connection closed.
    Dropped,
    /// The first answer is lost, and its connection stays open.
    Silent,
    /// The work takes longer than the client waits: until a duplicate was refused.
    Slow,
}

/// Opened once.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.lock().unwrap();
        let (_open, late) = self.1.wait_timeout_while(open, PATIENCE, |open| !*open).unwrap();
        assert!(!late.timed_out(), "no duplicate was refused");
    }
}

/// A message as it goes on, its body of a stated length.
fn octets(message: &Message) -> Vec<u8> {
    let mut lines = vec![message.start.clone()];
    for (name, value) in &message.fields {
        if name != "content-length" && name != "transfer-encoding" {
            lines.push(format!("{name}: {value}"));
        }
    }
    lines.push(format!("content-length: {}\r\n\r\n", message.body.len()));
    [lines.join("\r\n").as_bytes(), &message.body].concat()
}

/// The network between a client and the gateway.
fn network(gateway: SocketAddr, trouble: Trouble, gate: Arc<Gate>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (gate, asked) = (Arc::clone(&gate), Arc::clone(&asked));
            std::thread::spawn(move || carry(stream.unwrap(), gateway, trouble, &gate, &asked));
        }
    });
    address
}

/// Carries what a client says on one connection, and what it is told.
fn carry(
    stream: TcpStream,
    gateway: SocketAddr,
    trouble: Trouble,
    gate: &Gate,
    asked: &AtomicUsize,
) {
    let mut raw = stream.try_clone().unwrap();
    let mut client = Wire::new(stream);
    let mut behind = Wire::to(gateway);
    while let Some(request) = client.message() {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        behind.send(octets(&request));
        let Some(answer) = behind.message() else { return };
        match trouble {
            Trouble::Dropped if number == 0 => return,
            Trouble::Silent if number == 0 => {
                // Until the client has had enough.
                let _ = raw.read(&mut [0; 1]);
                return;
            }
            Trouble::Slow if answer.status() == 409 => gate.open(),
            _ => {}
        }
        if raw.write_all(&octets(&answer)).is_err() {
            // It has gone, and will ask again.
            return;
        }
    }
}

/// A client: how it is run, which profile it is for, and what it asks for.
struct Client {
    command: &'static [&'static str],
    profile: &'static str,
    path: &'static str,
    status: &'static str,
}

const CURL: Client = Client {
    command: &["bash", "tests/clients/curl.sh"],
    profile: "managed-dev",
    path: "/v1/sites/site_1/environments",
    status: "202 Accepted",
};
const REQUESTS: Client = Client {
    command: &["python3", "tests/clients/requests_retry.py"],
    profile: "standard",
    path: "/v1/sites",
    status: "201 Created",
};
const OEC: Client = Client {
    command: &["python3", "tests/clients/oec.py"],
    profile: "oec",
    path: "/api/public/v1/environments/env_01abc/actions/redeploy",
    status: "202 Accepted",
};
const MAGNOLIA: Client = Client {
    command: &["node", "tests/clients/magnolia.mjs"],
    profile: "magnolia",
    path: "/accounts",
    status: "201 Created",
};
const FETCH: Client = Client {
    command: &["node", "tests/clients/fetch.mjs"],
    profile: "managed-dev",
    path: "/v1/sites/site_1/environments",
    status: "202 Accepted",
};

/// What the upstream answers when it does the work for the `number`th time.
fn job(number: usize) -> String {
    format!("{{\"job\":{number}}}")
}

impl Client {
    /// Runs the client through `trouble`; gives what it printed, once the work was done exactly
    /// once, by a request with the profile's key.
    fn run(&self, trouble: Trouble) -> String {
        let gate = Arc::<Gate>::default();
        let done = AtomicUsize::new(0);
        let (status, held) = (self.status, Arc::clone(&gate));
        let upstream = Upstream::start(move |_, wire| {
            let number = done.fetch_add(1, Ordering::SeqCst) + 1;
            if trouble == Trouble::Slow {
                held.wait();
            }
            wire.send(response(status, "Content-Type: application/json\r\n", &job(number)));
            true
        });
        let gateway = Gateway::start(&upstream.url(), &["--profile", self.profile]);
        let network = network(gateway.address, trouble, gate);
        let limit = (2 * PATIENCE.as_secs()).to_string();
        let output = Command::new("timeout")
            .arg(limit)
            .args(self.command)
            .arg(format!("http://{network}{}", self.path))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let what = format!("{:?}, {trouble:?}", self.command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{what}: {said}");
        let requests = upstream.requests();
        assert_eq!(requests.len(), 1, "M1, M8: the work is done once: {what}");
        let header = if self.profile == "oec" { "x-idempotency-key" } else { "idempotency-key" };
        assert_eq!(requests[0].one(header).len(), 36, "M4, G9, O11: a bare UUID: {what}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Whatever the trouble, the client ends with the first answer.
    fn gets_the_answer(&self) {
        let due = format!("{} {}", &self.status[..3], job(1));
        for trouble in [Trouble::Dropped, Trouble::Silent, Trouble::Slow] {
            assert_eq!(self.run(trouble), due, "M6, M17, G10: {:?}, {trouble:?}", self.command);
        }
    }
}

#[test]
fn m17_curl_retries_and_gets_the_job() {
    CURL.gets_the_answer();
}

#[test]
fn d6_requests_with_urllib3s_retry_gets_the_first_answer() {
    REQUESTS.gets_the_answer();
}

#[test]
fn g10_magnolias_loop_gets_the_first_answer() {
    MAGNOLIA.gets_the_answer();
}

#[test]
fn m10_a_loop_around_fetch_gets_the_job() {
    FETCH.gets_the_answer();
}

/// O4, O6, O14: the retry after a timeout gets the job, marked.
#[test]
fn o14_oecs_loop_gets_the_job_that_timed_out() {
    assert_eq!(OEC.run(Trouble::Silent), format!("202 {} true", job(1)));
}

/// O15, X12: the sample takes a 409 for "runs already", and gets exactly the document's words.
#[test]
fn o15_oecs_loop_is_told_that_its_redeploy_runs() {
    let in_use = "409 {\"error\":\"idempotency_key_in_use\",\"message\":\"A request with this \
                  idempotency key is already being processed. Retry after a moment.\"}";
    assert_eq!(OEC.run(Trouble::Slow), in_use);
}
