//! Whose files they are (PROOF "file tricks": 0600): all that a gateway makes can be read by its own
//! user alone, whatever the umask says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use crate::serve_support::{Gateway, PATIENCE, Wire, command, response};

#[test]
fn c13_all_that_a_gateway_makes_is_its_users_alone_spooled_bodies_too() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("made/data");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let serve = command(&[
        "--upstream",
        &upstream,
        "--listen",
        "127.0.0.1:0",
        "--principal",
        "single-tenant",
        "--data",
        path.to_str().unwrap(),
    ]);
    // The laxest umask there is.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "umask 0; exec \"$0\" \"$@\""])
        .arg(serve.get_program())
        .args(serve.get_args());
    let gateway = Gateway::spawn(shell.env("TMPDIR", parent.path()).stdout(Stdio::null()));

    // More than memory holds and more than sockets do, so that the rest waits in a file while the
    // upstream reads no more than the head.
    let octets = 15 << 20;
    let mut client = TcpStream::connect(gateway.address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nConnection: close\r\n\
         Content-Length: {octets}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(&vec![b'x'; octets]).unwrap();
    let mut work = Wire::new(listener.accept().unwrap().0);
    work.head().unwrap();

    let handles = format!("/proc/{}/fd", gateway.pid());
    let spooled: Vec<_> = std::fs::read_dir(&handles)
        .unwrap()
        .filter_map(|entry| std::fs::metadata(entry.unwrap().path()).ok())
        .filter(|metadata| metadata.is_file() && metadata.nlink() == 0)
        .collect();
    assert!(!spooled.is_empty(), "a body that is not in memory is in a file");
    for metadata in spooled {
        assert_eq!(metadata.mode() & 0o7777, 0o600, "spooled, without a name");
    }
    let mut folders = vec![parent.path().join("made")];
    let mut seen = Vec::new();
    while let Some(folder) = folders.pop() {
        assert_eq!(folder.metadata().unwrap().mode() & 0o7777, 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                assert_eq!(metadata.mode() & 0o7777, 0o600, "{}", entry.path().display());
                seen.push(entry.file_name().into_string().unwrap());
            }
        }
    }
    for name in ["STORE", "LOCK", "GATEWAY", "0000000001.log"] {
        assert!(seen.iter().any(|seen| seen == name), "{name} of {seen:?}");
    }

    assert!(work.octets(octets).iter().all(|octet| *octet == b'x'));
    work.send(response("201 Created", "", "made"));
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 201"));
    gateway.stop();
    let tree = path.join("tree.redb").metadata().unwrap();
    assert_eq!(tree.mode() & 0o7777, 0o600, "the tree, which closing made");
}
