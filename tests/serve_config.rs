//! What the gateway may be told in its file, and how it says what it was told.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod serve_support;

use std::path::Path;
use std::process::{Command, Stdio};

use serve_support::{Gateway, Upstream, command, exchange, get, keyed, response};

const ONE: [&str; 2] = ["--principal", "single-tenant"];

/// Runs `onceward` to its end: its exit code, what it printed, and what it complained of.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onceward"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ONCEWARD_") {
            command.env_remove(name);
        }
    }
    let ended = command.args(args).stdin(Stdio::null()).output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

fn file(dir: &Path, text: &str) -> String {
    let path = dir.join("gateway.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_example_is_accepted() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/gateway.example.toml");
    let (code, said, why) = run(&["check-config", "--config", example]);
    assert_eq!(code, Some(0), "{why}");
    for part in [
        "upstream = \"http://127.0.0.1:3000/v1\"",
        "principal = \"auth-request:/whoami:x-account-id\"",
        "trusted-proxies = [\"10.0.0.0/8\", \"fd00::/8\"]",
        "#   mismatch = \"reject 409\"",
        "# route * /reports/**: not protected",
        "# route * /jobs/**: profile \"jobs\"",
        "# route POST /accounts/{id}/payouts: profile \"payments\": methods = [\"POST\"], ttl = \"31d\"",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn check_config_says_where_each_setting_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(
        dir.path(),
        "upstream = \"http://127.0.0.1:9\"\nttl = \"1h\"\nprofile = \"mine\"\n[profiles.mine]\n\
         base = \"ietf\"\nkey-syntax = \"lenient\"\n",
    );
    let mut check = Command::new(env!("CARGO_BIN_EXE_onceward"));
    check.args(["check-config", "--config", &config, "--listen", "127.0.0.1:0"]);
    check.env("ONCEWARD_WAIT_LOCK", "2m").current_dir(dir.path());
    let ended = check.output().unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{said}");
    for line in [
        format!("upstream = \"http://127.0.0.1:9\"  # {config}:1: upstream"),
        "listen = \"127.0.0.1:0\"  # --listen".to_owned(),
        "wait-lock = \"2m\"  # ONCEWARD_WAIT_LOCK".to_owned(),
        "drain-timeout = \"25s\"  # default".to_owned(),
        "# admin  # not set".to_owned(),
        format!("#   key-syntax = \"lenient\"  # {config}:6"),
        "#   key-required = true".to_owned(),
        "#   ttl = \"1h\"".to_owned(),
    ] {
        assert!(said.lines().any(|said| said == line), "{line} in {said}");
    }
    assert!(!dir.path().join("onceward-data").exists(), "nothing is opened");

    // What it says is what a file may say.
    let again = dir.path().join("again.toml");
    std::fs::write(&again, said.replace("profile = \"mine\"", "profile = \"ietf\"")).unwrap();
    let (code, _, why) = run(&["check-config", "--config", again.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{why}");
}

#[test]
fn check_config_refuses_what_serve_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let pem = dir.path().join("empty.pem");
    std::fs::write(&pem, "nothing").unwrap();
    let pem = pem.to_str().unwrap();
    let up = "upstream = \"http://127.0.0.1:9\"\n";
    for (text, part) in [
        ("profile = \"standard\"\n".to_owned(), "no upstream"),
        (format!("{up}[profiles.x]\nbase = \"ietf\"\ntll = 1\n"), "gateway.toml:4: unknown field"),
        (format!("{up}[[route]]\npath = \"v1\"\n"), "gateway.toml:3: route.path: `v1`"),
        (format!("{up}upstream-ca = \"{pem}\"\n"), "empty.pem: no certificate"),
        (format!("{up}tls-cert = \"{pem}\"\ntls-key = \"{pem}\"\n"), "empty.pem: no certificate"),
    ] {
        let config = file(dir.path(), &text);
        let (code, said, why) = run(&["check-config", "--config", &config]);
        assert_eq!((code, said.as_str()), (Some(2), ""), "{text}");
        assert!(why.contains(part) && why.lines().count() == 1, "{part} in {why}");
        let ended = Gateway::spawn_unready(command(&["--config", &config]).current_dir(&dir));
        let (status, said) = ended.ended();
        assert_eq!(status.code(), Some(2), "{text}");
        assert_eq!(said, [why.trim_end()], "both say the same");
    }
}

#[test]
fn a_profile_of_the_file_is_obeyed() {
    let upstream = Upstream::counting();
    let dir = tempfile::tempdir().unwrap();
    let config = file(
        dir.path(),
        "profile = \"mine\"\n[profiles.mine]\nbase = \"standard\"\nheader = \"X-Key\"\n\
         methods = [\"PUT\"]\nmarker = \"x-again\"\nmismatch = \"reject 400\"\n\
         key-required = true\n",
    );
    let gateway = Gateway::start(&upstream.url(), &[ONE[0], ONE[1], "--config", &config]);
    let put = |body: &str| {
        let request = keyed("/a", "k", body).replace("Idempotency-Key", "X-Key");
        exchange(gateway.address, request.replace("POST", "PUT"))
    };
    assert_eq!(put("{}").text(), "1");
    let again = put("{}");
    assert_eq!((again.text(), again.one("x-again")), ("1", "true"));
    assert_eq!(put("{ }").status(), 400, "the status that was asked for (X2)");
    let unkeyed = get("/a").replace("GET", "PUT");
    assert!(exchange(gateway.address, unkeyed).text().contains("missing-key"), "X6");
    let posted = exchange(gateway.address, keyed("/a", "k", "{}"));
    assert_eq!(posted.text(), "2", "a POST is not protected here");
    let requests = upstream.requests();
    assert_eq!(requests[0].one("x-key"), "k", "the key is passed on");
    assert_eq!(requests.len(), 2);
}

#[test]
fn c24_a_profile_may_keep_longer_responses_than_the_store_does_by_itself() {
    let long = "x".repeat(17 << 20);
    let upstream = Upstream::start(move |_, wire| {
        wire.send(response("200 OK", "", &long));
        true
    });
    let dir = tempfile::tempdir().unwrap();
    let config = file(
        dir.path(),
        "profile = \"long\"\n[profiles.long]\nbase = \"standard\"\n\
         response-octets-max = \"17MiB\"\n",
    );
    let gateway = Gateway::start(&upstream.url(), &[ONE[0], ONE[1], "--config", &config]);
    for replayed in [0, 1] {
        let answer = exchange(gateway.address, keyed("/", "k", "{}"));
        assert_eq!((answer.status(), answer.body.len()), (200, 17 << 20));
        assert_eq!(answer.all("idempotency-replayed").len(), replayed);
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn d5_the_policy_is_printed_and_published() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(
        dir.path(),
        "ttl = \"2h\"\n[[route]]\npath = \"/free/**\"\nprotect = false\n\
         [[route]]\npath = \"/jobs\"\nprofile = \"managed-dev\"\n",
    );
    let (code, markdown, _) = run(&["policy", "--config", &config]);
    assert_eq!(code, Some(0));
    for part in ["kept for 2 hours", "## `/free/**`", "no effect here", "## `/jobs`"] {
        assert!(markdown.contains(part), "{part} in {markdown}");
    }
    assert_eq!(run(&["policy", "--config", &config, "--markdown"]).1, markdown);
    let (_, json, _) = run(&["policy", "--config", &config, "--json"]);
    let policy: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(policy["routes"][0]["path"], "/free/**");
    assert!(policy["routes"][0]["policy"].is_null(), "{json}");
    // What the gateway itself makes of a status by which another one lost the request.
    for policy in [&policy, &policy["routes"][1]["policy"]] {
        assert_eq!(policy["outcomes"]["exceptions"][1]["status"], 502, "{json}");
        assert_eq!(policy["outcomes"]["exceptions"][1]["key"], "in-doubt", "{json}");
    }
    assert_eq!(policy["routes"][1]["policy"]["replay"]["body"], "stored-or-current");
    let (_, oec, _) = run(&["policy", "--profile", "oec"]);
    assert!(oec.contains("X-Idempotency-Key") || oec.contains("x-idempotency-key"), "{oec}");
    assert_eq!(run(&["policy", "--profile", "nobody"]).0, Some(2));

    let upstream = Upstream::counting();
    let flags = [ONE[0], ONE[1], "--config", &config, "--publish-policy"];
    let gateway = Gateway::start(&upstream.url(), &flags);
    let path = "/.well-known/idempotency-policy";
    let published = exchange(gateway.address, get(path));
    assert_eq!((published.status(), published.text()), (200, json.as_str()));
    assert_eq!(published.one("content-type"), "application/json");
    let accept = get(path).replace("\r\n\r\n", "\r\nAccept: text/markdown\r\n\r\n");
    let published = exchange(gateway.address, accept);
    assert_eq!(published.text(), markdown);
    assert_eq!(published.one("content-type"), "text/markdown; charset=utf-8");
    assert_eq!(published.one("vary"), "accept");
    let posted = exchange(gateway.address, keyed(path, "k", "{}"));
    assert_eq!((posted.status(), posted.one("allow")), (405, "GET, HEAD"));
    assert!(upstream.requests().is_empty(), "the gateway itself answers");

    let silent = Gateway::start(&upstream.url(), &[ONE[0], ONE[1], "--publish-policy=false"]);
    assert_eq!(exchange(silent.address, get(path)).text(), "1", "the upstream's own otherwise");
}

#[test]
fn d5_the_policy_is_that_of_the_gateway_as_it_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let policy = |text: &str| {
        let config = file(dir.path(), text);
        let (code, json, why) = run(&["policy", "--config", &config, "--json"]);
        assert_eq!(code, Some(0), "{why}");
        serde_json::from_str::<serde_json::Value>(&json).unwrap()
    };
    let lost = |text: &str| {
        let policy = policy(text);
        let exceptions = policy["outcomes"]["exceptions"].as_array().unwrap().clone();
        exceptions.into_iter().find(|exception| exception["status"] == 504)
    };
    assert_eq!(lost("").unwrap()["key"], "in-doubt");
    assert_eq!(lost("on-gateway-status = \"release\"").unwrap()["key"], "released");
    assert_eq!(lost("on-gateway-status = \"store\""), None, "a status like another");
    let body = |text: &str| policy(text)["replay"]["body"].as_str().unwrap().to_owned();
    assert_eq!(body("profile = \"managed-dev\""), "stored-or-current");
    assert_eq!(body("profile = \"managed-dev\"\nrefresh = \"off\""), "stored");
    assert_eq!(body("refresh = \"location\""), "stored-or-current");
}

#[test]
fn d5_the_policy_of_a_gateway_with_rules_keeps_the_order_of_its_members() {
    let dir = tempfile::tempdir().unwrap();
    let rules = "[[route]]\npath = \"/re\\\"ports/**\"\nprotect = false\n\
                 [[route]]\npath = \"/jobs\"\nmethods = [\"POST\"]\nprofile = \"oec\"\n";
    let policy = |text: &str| {
        let config = file(dir.path(), text);
        let (code, json, why) = run(&["policy", "--config", &config, "--json"]);
        assert_eq!(code, Some(0), "{why}");
        json
    };
    let (plain, ruled) = (policy(""), policy(rules));
    let start = plain.trim_end().strip_suffix("\n}").unwrap();
    assert!(ruled.starts_with(start), "the members of the whole stand in front:\n{ruled}");
    let read: serde_json::Value = serde_json::from_str(&ruled).unwrap();
    let routes = read["routes"].as_array().unwrap();
    assert_eq!(routes.len(), 2);
    assert_eq!(
        routes[0],
        serde_json::json!({ "path": "/re\"ports/**", "methods": null, "policy": null })
    );
    assert_eq!((&routes[1]["path"], &routes[1]["methods"][0]), (&"/jobs".into(), &"POST".into()));
    let oec: serde_json::Value = serde_json::from_str(&policy("profile = \"oec\"\n")).unwrap();
    assert_eq!(routes[1]["policy"]["key"], oec["key"]);
    let place = |name: &str| ruled.rfind(name).unwrap_or_else(|| panic!("{name} in {ruled}"));
    assert!(place("\"path\": \"/jobs\"") < place("\"methods\": [\"POST\"]"), "{ruled}");
    assert!(place("\"profile\": \"oec\"") < place("\"covered\""), "{ruled}");
}

/// The story: an operator turns `refresh` off for all, and on for the profile of the jobs; and then
/// off on the command line, which goes before any line of the file.
#[test]
fn x1_a_profiles_own_refresh_goes_before_the_files_and_a_flag_before_both() {
    let dir = tempfile::tempdir().unwrap();
    let text = "upstream = \"http://127.0.0.1:9\"\nrefresh = \"off\"\nprofile = \"jobs\"\n\
                [profiles.jobs]\nbase = \"standard\"\nrefresh-location = true\n";
    let config = file(dir.path(), text);
    let line = |flags: &[&str]| {
        let (code, said, why) = run(&[&["check-config", "--config", &config][..], flags].concat());
        assert_eq!(code, Some(0), "{why}");
        said.lines().find(|line| line.contains("refresh-location")).unwrap().to_owned()
    };
    assert_eq!(line(&[]), format!("#   refresh-location = true  # {config}:6"));
    let overruled = line(&["--refresh", "off"]);
    assert_eq!(overruled, "#   refresh-location = false", "no line of the file says that");
}

#[test]
fn c14_the_operator_says_how_many_requests_may_be_at_work() {
    let (arrived, arrives) = std::sync::mpsc::channel();
    let (go, goes) = std::sync::mpsc::channel::<()>();
    let (arrived, goes) = (std::sync::Mutex::new(arrived), std::sync::Mutex::new(goes));
    let upstream = Upstream::start(move |_, wire| {
        arrived.lock().unwrap().send(()).unwrap();
        goes.lock().unwrap().recv().unwrap();
        wire.send(response("201 Created", "", "made"));
        true
    });
    let gateway = Gateway::start(&upstream.url(), &[&ONE[..], &["--max-in-flight", "1"]].concat());
    let mut first = serve_support::Wire::to(gateway.address);
    first.send(keyed("/a", "first", "{}"));
    arrives.recv_timeout(serve_support::PATIENCE).unwrap();
    assert_eq!(exchange(gateway.address, keyed("/a", "second", "{}")).status(), 429);
    go.send(()).unwrap();
    assert_eq!(first.message().unwrap().status(), 201);
    go.send(()).unwrap();
    assert_eq!(exchange(gateway.address, keyed("/a", "second", "{}")).status(), 201);
}

#[test]
fn c13_long_bodies_wait_where_the_operator_says() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (bodies, open) = (dir.path().join("bodies"), dir.path().join("open"));
    let upstream = Upstream::counting();
    let long = "x".repeat(3 << 20);
    let named = bodies.to_str().unwrap();
    let gateway = Gateway::start(&upstream.url(), &[&ONE[..], &["--temp-dir", named]].concat());
    assert_eq!(std::fs::metadata(&bodies).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(exchange(gateway.address, keyed("/a", "kept", &long)).status(), 201);
    assert_eq!(std::fs::read_dir(&bodies).unwrap().count(), 0, "its file has no name");
    std::fs::remove_dir(&bodies).unwrap();
    assert_eq!(exchange(gateway.address, keyed("/a", "lost", &long)).status(), 503, "no room");
    assert_eq!(upstream.requests().len(), 1);

    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let (url, open) = (upstream.url(), open.to_str().unwrap());
    for command in ["check-config", "serve"] {
        let (code, _, why) = run(&[command, "--upstream", &url, "--temp-dir", open]);
        assert_eq!(code, Some(2), "{why}");
        assert!(why.contains("others may write to"), "{why}");
    }
}

/// The story: a store has results in it. The gateway is started with another principal rule, under
/// which every key would be somebody else's and a retry would be executed again. It refuses, until
/// it is told that this is meant.
#[test]
fn a_store_is_run_under_the_rules_it_was_run_under() {
    let upstream = Upstream::counting();
    let data = tempfile::tempdir().unwrap();
    let url = upstream.url();
    let flags = |more: &[&'static str]| {
        let mut flags = vec!["--upstream", &url, "--listen", "127.0.0.1:0"];
        flags.extend(["--data", data.path().to_str().unwrap(), "--log", "warn"]);
        flags.extend(more);
        flags.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let start = |more: &[&'static str]| {
        let flags = flags(more);
        Gateway::spawn_unready(&mut command(&flags.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    let mut first = start(&ONE);
    first.ready();
    exchange(first.address, keyed("/", "k", "{}"));
    first.stop();

    for (other, told) in [
        (&["--principal", "authorization"][..], "`principal: authorization`"),
        (&[ONE[0], ONE[1], "--profile", "oec"][..], "profile oec: compared=no"),
        (&[ONE[0], ONE[1], "--profile", "magnolia"][..], "profile magnolia: "),
    ] {
        let (status, said) = start(other).ended();
        let said = said.join("\n");
        assert_eq!(status.code(), Some(2), "{said}");
        for part in [told, "`principal: single-tenant", "profile standard: ", "--accept-change"] {
            let named = part != "`principal: single-tenant" || other[1] == "authorization";
            let named = named && (part != "profile standard: " || other.len() == 4);
            assert!(!named || said.contains(part), "{part} in {said}");
        }
        let mut check = vec!["check-config".to_owned()];
        check.extend(flags(other));
        let (code, _, why) = run(&check.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((code, why.trim_end()), (Some(2), said.as_str()), "known before a start");
    }

    // What changes no key is no change.
    let mut longer = start(&[ONE[0], ONE[1], "--ttl", "48h", "--max-request", "1KiB"]);
    longer.ready();
    let replay = exchange(longer.address, keyed("/", "k", "{}"));
    assert_eq!(replay.one("idempotency-replayed"), "true");
    longer.stop();

    // A rule like the main profile's keeps paths from the rule behind it: without it, they are that
    // rule's, and their keys would not be found.
    let rule = |path: &str, profile: &str| {
        format!("[[route]]\npath = \"{path}\"\nprofile = \"{profile}\"\n")
    };
    let (front, behind) = (rule("/a/**", "standard"), rule("/**", "oec"));
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.toml");
    let with = |text: &str, more: &[&str]| {
        std::fs::write(&config, text).unwrap();
        let data = data.path().to_str().unwrap();
        let mut flags = vec!["--upstream", &url, "--listen", "127.0.0.1:0", "--data", data];
        flags.extend([&ONE[..], &["--config", config.to_str().unwrap()], more].concat());
        Gateway::spawn_unready(&mut command(&flags))
    };
    let mut ruled = with(&format!("{front}{behind}"), &["--accept-change"]);
    ruled.ready();
    ruled.stop();
    assert_eq!(with(&behind, &[]).ended().0.code(), Some(2), "without the rule in front");

    let meant = ["--principal", "authorization", "--accept-change"];
    let mut other = start(&meant);
    other.line("accepted: the store in");
    other.ready();
    other.stop();
    let mut since = start(&meant[..2]);
    since.ready();
    since.stop();
    assert_eq!(start(&ONE).ended().0.code(), Some(2), "and it is the rule from now on");
}
