//! How the gateway starts, what it says, and how it stops.
#![cfg(feature = "cli")]
// A test, and what it is made of, fails by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod serve_support;

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use serve_support::{Gateway, PATIENCE, Upstream, Wire, command, exchange, get, keyed, response};

const ONE: [&str; 2] = ["--principal", "single-tenant"];

/// An upstream that says when a request arrived, and answers it when told to.
fn held() -> (Upstream, Receiver<()>, Sender<()>) {
    let ((arrive, arrived), (go, gone)) = (channel(), channel());
    let both = Mutex::new((arrive, gone));
    let upstream = Upstream::start(move |_, wire| {
        let both = both.lock().unwrap();
        both.0.send(()).unwrap();
        // An upstream let go of unanswered is one that hangs until the test is over.
        if both.1.recv().is_ok() {
            wire.send(response("200 OK", "", "done"));
        }
        true
    });
    (upstream, arrived, go)
}

/// Runs a command that ends by itself: its exit code and all it said.
fn outcome(command: &mut Command) -> (Option<i32>, String) {
    let (status, said) = Gateway::spawn_unready(command).ended();
    (status.code(), said.join("\n"))
}

#[test]
fn it_says_where_it_listens_and_how_it_runs() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &["--profile", "magnolia", "--ttl", "36h"]);
    assert_ne!(gateway.address.port(), 0);
    assert_eq!(exchange(gateway.address, get("/")).status(), 201);
    let said = gateway.stop().join("\n");
    for part in [
        "profile=\"magnolia\"",
        "methods=\"POST,PATCH\"",
        "principal=authorization",
        "ttl=\"36h\"",
        "data=",
        "a rotated token is a new caller",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn a_flag_wins_over_its_variable_and_that_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    std::fs::write(
        &file,
        "upstream = \"http://127.0.0.1:9\"\nlisten = \"127.0.0.1:0\"\nprofile = \"oec\"\n\
         ttl = \"1h\"\nprincipal = \"header:x-file\"\n",
    )
    .unwrap();
    let mut gateway =
        command(&["--ttl", "3h", "--data", dir.path().join("data").to_str().unwrap()]);
    gateway
        .env("ONCEWARD_CONFIG", &file)
        .env("ONCEWARD_TTL", "2h")
        .env("ONCEWARD_PRINCIPAL", "header:x-variable");
    let gateway = Gateway::spawn(&mut gateway);
    assert!(gateway.admin.is_none(), "no admin listener unless given");
    let said = gateway.stop().join("\n");
    for part in ["ttl=\"3h\"", "principal=header:x-variable", "profile=\"oec\""] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn usage_and_configuration_errors_exit_with_2_and_name_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let unknown = file("unknown.toml", "listen = \"127.0.0.1:0\"\nlissten = \"x\"\n");
    let value = file("value.toml", "\nttl = \"soon\"\n");
    let pem = file("ca.pem", "nothing");
    let absent = dir.path().join("absent.toml");
    let up = ["--upstream", "http://127.0.0.1:9"];
    for (flags, part) in [
        (vec![], "no upstream"),
        (vec!["--upstream", "up:80"], "--upstream: `up:80`"),
        (vec![up[0], up[1], "--nonsense"], "--nonsense"),
        (vec![up[0], up[1], "--listen", "8080"], "--listen: `8080`"),
        (vec![up[0], up[1], "--ttl", "0s"], "--ttl: `0s`"),
        (vec![up[0], up[1], "--profile", "nobody"], "--profile: `nobody`"),
        (vec![up[0], up[1], "--principal", "who"], "--principal: `who`"),
        (vec![up[0], up[1], "--log", "a=b=c"], "--log: `a=b=c`"),
        (vec![up[0], up[1], "--upstream-ca", &pem], "ca.pem: no certificate"),
        (vec![up[0], up[1], "--config", absent.to_str().unwrap()], "absent.toml: "),
        (vec![up[0], up[1], "--config", &unknown], "unknown.toml:2: unknown field `lissten`"),
        (vec![up[0], up[1], "--config", &value], "value.toml:2: ttl: `soon`"),
    ] {
        let mut command = command(&flags);
        let (code, said) = outcome(command.current_dir(dir.path()));
        assert_eq!(code, Some(2), "{flags:?}: {said}");
        assert!(said.contains(part), "{part} in {said}");
        assert!(!dir.path().join("onceward-data").exists(), "{flags:?} made a store");
    }
    let mut bare = Command::new(env!("CARGO_BIN_EXE_onceward"));
    assert_eq!(outcome(&mut bare).0, Some(2));
    assert_eq!(outcome(&mut command(&["--help"])).0, Some(0));
}

#[test]
fn what_fails_when_it_starts_exits_with_1_and_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(data("foreign")).unwrap();
    std::fs::write(dir.path().join("foreign/letters.txt"), "not a store").unwrap();
    std::fs::write(data("file"), "not a directory").unwrap();
    let (fresh, other, foreign, file) =
        (data("fresh"), data("other"), data("foreign"), data("file"));
    let base = ["--upstream", "http://127.0.0.1:9", "--log", "off"];
    for (flags, part) in [
        (vec!["--listen", &taken, "--data", &fresh], "cannot listen on 127.0.0.1:"),
        (
            vec!["--listen", "127.0.0.1:0", "--admin", &taken, "--data", &other],
            "cannot listen on 127.0.0.1:",
        ),
        (vec!["--listen", "127.0.0.1:0", "--data", &foreign], "foreign cannot be opened: "),
        (vec!["--listen", "127.0.0.1:0", "--data", &file], "file cannot be opened: "),
    ] {
        let all: Vec<&str> = base.into_iter().chain(flags.iter().copied()).collect();
        let (code, said) = outcome(&mut command(&all));
        assert_eq!(code, Some(1), "{flags:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("onceward: ") && said.contains(part), "{part} in {said}");
    }
    assert_eq!(
        std::fs::read_to_string(dir.path().join("foreign/letters.txt")).unwrap(),
        "not a store"
    );
}

#[test]
fn a_store_in_use_is_refused_or_waited_for() {
    let upstream = Upstream::counting();
    let data = tempfile::tempdir().unwrap();
    let first = Gateway::over(data.path(), &upstream.url(), &ONE);
    exchange(first.address, keyed("/", "k", "{}"));

    let flags = |more: &[&'static str]| {
        let mut flags = vec!["--upstream".to_owned(), upstream.url(), "--listen".to_owned()];
        flags.extend(["127.0.0.1:0", "--data", data.path().to_str().unwrap()].map(str::to_owned));
        flags.extend(ONE.iter().chain(more).map(|&flag| flag.to_owned()));
        flags
    };
    let run = |flags: &[String]| {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Gateway::spawn_unready(&mut command(&flags))
    };
    let (status, said) = run(&flags(&["--log", "off"])).ended();
    assert_eq!(status.code(), Some(1));
    assert!(said.join("\n").contains("in use by another process"), "{said:?}");
    let (status, said) = run(&flags(&["--wait-lock", "150ms"])).ended();
    assert_eq!(status.code(), Some(1));
    assert!(said.join("\n").contains("still in use by another process after 150ms"), "{said:?}");

    let mut second = run(&flags(&["--wait-lock", "5m"]));
    second.line("waiting for the store's lock");
    first.stop();
    second.ready();
    let replay = exchange(second.address, keyed("/", "k", "{}"));
    assert_eq!(replay.one("idempotency-replayed"), "true");

    let mut waiting = run(&flags(&["--wait-lock", "5m"]));
    waiting.line("waiting for the store's lock");
    waiting.stop();
    second.stop();
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn alive_is_told_apart_from_ready() {
    let (upstream, arrived, go) = held();
    let mut gateway = Gateway::start(&upstream.url(), &ONE);
    let admin = gateway.admin.unwrap();
    for path in ["/livez", "/readyz"] {
        assert_eq!(exchange(admin, get(path)).status(), 200, "{path}");
    }
    assert_eq!(exchange(admin, get("/")).status(), 404);
    let mut client = Wire::to(gateway.address);
    client.send(get("/"));
    arrived.recv_timeout(PATIENCE).unwrap();
    gateway.terminate();
    gateway.line("draining");
    let unready = exchange(admin, get("/readyz"));
    assert_eq!((unready.status(), unready.text()), (503, "draining\n"));
    assert_eq!(exchange(admin, get("/livez")).status(), 200);
    go.send(()).unwrap();
    assert_eq!(client.message().unwrap().text(), "done");
    assert_eq!(gateway.ended().0.code(), Some(0));
}

#[test]
fn a_drain_finishes_what_runs_and_accepts_nothing_new() {
    let (upstream, arrived, go) = held();
    let mut gateway = Gateway::start(&upstream.url(), &ONE);
    let mut idle = Wire::to(gateway.address);
    let mut client = Wire::to(gateway.address);
    client.send(keyed("/", "k", "{}"));
    arrived.recv_timeout(PATIENCE).unwrap();
    gateway.terminate();
    gateway.line("draining");
    idle.closed();
    assert!(TcpStream::connect(gateway.address).is_err());
    go.send(()).unwrap();
    let answer = client.message().unwrap();
    assert_eq!((answer.status(), answer.text()), (200, "done"));
    client.closed();
    let (status, said) = gateway.ended();
    assert_eq!(status.code(), Some(0));
    assert!(said.join("\n").contains("drained"), "{said:#?}");
}

#[test]
fn m17_work_whose_client_hung_up_is_finished_before_the_gateway_ends() {
    let (upstream, arrived, go) = held();
    let data = tempfile::tempdir().unwrap();
    let flags = [ONE[0], ONE[1], "--log", "onceward=debug"];
    let mut gateway = Gateway::over(data.path(), &upstream.url(), &flags);
    let mut client = Wire::to(gateway.address);
    client.send(keyed("/", "k", "{}"));
    arrived.recv_timeout(PATIENCE).unwrap();
    drop(client);
    gateway.line("a connection broke");
    gateway.terminate();
    gateway.line("draining");
    for _ in 0..20 {
        // No connection is left, and still it waits.
        let unready = exchange(gateway.admin.unwrap(), get("/readyz"));
        assert_eq!(unready.text(), "draining\n");
    }
    go.send(()).unwrap();
    let (status, said) = gateway.ended();
    assert_eq!(status.code(), Some(0));
    assert!(said.join("\n").contains("drained"), "{said:#?}");

    let gateway = Gateway::over(data.path(), &upstream.url(), &ONE);
    let replay = exchange(gateway.address, keyed("/", "k", "{}"));
    assert_eq!((replay.text(), replay.one("idempotency-replayed")), ("done", "true"));
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_drain_that_takes_too_long_leaves_the_key_in_doubt() {
    let (upstream, arrived, _go) = held();
    let data = tempfile::tempdir().unwrap();
    let flags = [ONE[0], ONE[1], "--drain-timeout", "50ms"];
    let gateway = Gateway::over(data.path(), &upstream.url(), &flags);
    let mut client = Wire::to(gateway.address);
    client.send(keyed("/", "k", "{}"));
    arrived.recv_timeout(PATIENCE).unwrap();
    let said = gateway.stop().join("\n");
    assert!(said.contains("left in doubt"), "{said}");

    let gateway = Gateway::over(data.path(), &upstream.url(), &ONE);
    let doubt = exchange(gateway.address, keyed("/", "k", "{}"));
    assert_eq!(doubt.status(), 409);
    assert!(doubt.text().contains("outcome-unknown"), "{doubt:?}");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn c34_a_crash_in_the_middle_of_a_request_leaves_its_key_in_doubt_and_keeps_the_others() {
    let (upstream, arrived, go) = held();
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::over(data.path(), &upstream.url(), &ONE);
    go.send(()).unwrap();
    assert_eq!(exchange(gateway.address, keyed("/", "done", "{}")).text(), "done");
    arrived.recv_timeout(PATIENCE).unwrap();
    let mut client = Wire::to(gateway.address);
    client.send(keyed("/", "cut", "{}"));
    arrived.recv_timeout(PATIENCE).unwrap();
    gateway.kill();

    let mut gateway = Gateway::over(data.path(), &upstream.url(), &ONE);
    let told = gateway.line("a key is in doubt");
    // SHA-256("cut"), its first eight octets.
    assert!(told.contains("378bfce5cda2599a"), "{told}");
    let replay = exchange(gateway.address, keyed("/", "done", "{}"));
    assert_eq!((replay.text(), replay.one("idempotency-replayed")), ("done", "true"));
    let doubt = exchange(gateway.address, keyed("/", "cut", "{}"));
    assert_eq!(doubt.status(), 409);
    assert!(doubt.text().contains("outcome-unknown"), "{doubt:?}");
    assert_eq!(upstream.requests().len(), 2);
}
