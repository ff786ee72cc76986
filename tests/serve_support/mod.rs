//! The real gateway as a child process, and both of its neighbours in plain sockets: what the tests
//! say is what is on the wire.

// Each test binary uses its own part of this module, and none is a library.
#![allow(dead_code, unreachable_pub)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longer than anything takes on a busy machine. Only a test that fails waits for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A request or a response, as it was on the wire.
#[derive(Clone, Debug)]
pub struct Message {
    /// The request line or the status line.
    pub start: String,
    /// The fields in their order, names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    /// The status of a response.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Every value of the field `name`, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let values = self.fields.iter().filter(|(field, _)| field == name);
        values.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of the field `name`, which stands there once.
    pub fn one(&self, name: &str) -> &str {
        let values = self.all(name);
        assert_eq!(values.len(), 1, "{name} in {self:?}");
        values[0]
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A connection that reads messages.
pub struct Wire(BufReader<TcpStream>);

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Connects to `address`.
    pub fn to(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(octets.as_ref()).unwrap();
    }

    /// Reads up to and with the empty line after the head. `None` when the peer closed instead.
    pub fn head(&mut self) -> Option<Message> {
        let start = self.line()?;
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(Message { start, fields, body: Vec::new() });
            }
            let (name, value) = line.split_once(':').unwrap();
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads a message with its body, which is chunked, of a stated length, or empty.
    pub fn message(&mut self) -> Option<Message> {
        let mut message = self.head()?;
        if message.all("transfer-encoding") == ["chunked"] {
            while let Some(chunk) = self.chunk() {
                message.body.extend(chunk);
            }
        } else if let [length] = message.all("content-length")[..] {
            message.body = vec![0; length.parse().unwrap()];
            self.0.read_exact(&mut message.body).unwrap();
        }
        Some(message)
    }

    /// Reads one chunk; `None` is the last one.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line().unwrap(), 16).unwrap();
        let mut chunk = vec![0; length];
        self.0.read_exact(&mut chunk).unwrap();
        assert_eq!(self.line().unwrap(), "");
        (length > 0).then_some(chunk)
    }

    /// Reads exactly `length` octets.
    pub fn octets(&mut self, length: usize) -> Vec<u8> {
        let mut octets = vec![0; length];
        self.0.read_exact(&mut octets).unwrap();
        octets
    }

    /// Closes the connection, which the peer can see once this returns.
    pub fn close(&mut self) {
        self.0.get_ref().shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// Says that nothing more will be sent.
    pub fn end(&mut self) {
        self.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Waits for the peer to close, having sent nothing more.
    pub fn closed(&mut self) {
        let mut rest = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut rest) {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        assert!(rest.is_empty(), "{rest:?}");
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.0.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
            Ok(_) => {
                let line: String = line.into_iter().map(char::from).collect();
                Some(line.trim_end_matches(['\r', '\n']).to_owned())
            }
        }
    }
}

/// Sends `request` to `address` on a connection of its own, and reads the response.
pub fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> Message {
    let mut wire = Wire::to(address);
    wire.send(request);
    wire.message().unwrap()
}

/// A POST with a key, an `Authorization` and a body.
pub fn keyed(path: &str, key: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer one\r\n\
         Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n\
         {body}",
        body.len()
    )
}

/// A GET.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: api.example\r\n\r\n")
}

/// A response with these header lines (each with its line end) and this body.
pub fn response(status: &str, lines: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// An upstream that answers with what its handler writes.
pub struct Upstream {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Message>>>,
}

impl Upstream {
    /// Answers each request with what `handler` writes, on connections that stay open for as long
    /// as it says `true`. A connection that ends in the middle of a request is none.
    pub fn start(handler: impl Fn(&Message, &mut Wire) -> bool + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", handler)
    }

    /// The same at an address of the caller's choice.
    pub fn at(
        address: &str,
        handler: impl Fn(&Message, &mut Wire) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<Message>>>::default();
        let (handler, seen) = (Arc::new(handler), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (handler, seen) = (Arc::clone(&handler), Arc::clone(&seen));
                let mut wire = Wire::new(stream.unwrap());
                std::thread::spawn(move || {
                    while let Some(request) = wire.message() {
                        seen.lock().unwrap().push(request.clone());
                        if !handler(&request, &mut wire) {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, requests }
    }

    /// Answers every request with 201 and its number, from 1, as body.
    pub fn counting() -> Self {
        let count = std::sync::atomic::AtomicU32::new(1);
        Self::start(move |_, wire| {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            wire.send(response("201 Created", "X-Made: yes\r\n", &number.to_string()));
            true
        })
    }

    /// The address as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What arrived so far.
    pub fn requests(&self) -> Vec<Message> {
        self.requests.lock().unwrap().clone()
    }
}

/// A gateway that runs.
pub struct Gateway {
    child: Child,
    pub address: SocketAddr,
    pub admin: Option<SocketAddr>,
    log: Receiver<String>,
    said: Vec<String>,
    data: Option<tempfile::TempDir>,
}

/// `onceward serve` with these flags, and no variable of its own in the environment.
pub fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onceward"));
    command.arg("serve").args(flags).stdin(Stdio::null()).stdout(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ONCEWARD_") {
            command.env_remove(name);
        }
    }
    command
}

impl Gateway {
    /// A gateway to `upstream` on free ports, with a fresh store.
    pub fn start(upstream: &str, flags: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut gateway = Self::over(data.path(), upstream, flags);
        gateway.data = Some(data);
        gateway
    }

    /// The same over the store in `data`.
    pub fn over(data: &Path, upstream: &str, flags: &[&str]) -> Self {
        let mut all = vec!["--upstream", upstream, "--listen", "127.0.0.1:0"];
        all.extend(["--admin", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
        all.extend(flags);
        Self::spawn(&mut command(&all))
    }

    /// Runs `command` and waits until it listens.
    pub fn spawn(command: &mut Command) -> Self {
        let mut gateway = Self::spawn_unready(command);
        gateway.ready();
        gateway
    }

    /// Runs `command`, which may not get as far as listening.
    pub fn spawn_unready(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines() {
                if send.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { child, address: unknown, admin: None, log, said: Vec::new(), data: None }
    }

    /// Waits until the gateway says where it listens.
    pub fn ready(&mut self) {
        self.line("listening on http");
        let address = |start: &str| {
            let said = self.said.iter().find_map(|line| line.strip_prefix(start));
            said.map(|address| address.parse().unwrap())
        };
        self.admin = address("admin on http://");
        let secure = address("listening on https://");
        self.address = secure.or_else(|| address("listening on http://")).unwrap();
    }

    /// Waits for a line with `part` on standard error, and gives it. Lines are read once.
    pub fn line(&mut self, part: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|error| {
                panic!("waiting for {part:?}: {error}; it said {:#?}", self.said)
            });
            self.said.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells the gateway to stop.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Kills the gateway, as a crash would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the gateway's end; gives its status and all it said.
    pub fn ended(mut self) -> (ExitStatus, Vec<String>) {
        // Its standard error closes when it ends.
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it goes on; it said {:#?}", self.said),
            }
        }
        (self.child.wait().unwrap(), std::mem::take(&mut self.said))
    }

    /// Stops the gateway, which must exit with 0; gives all it said.
    pub fn stop(self) -> Vec<String> {
        self.terminate();
        let (status, said) = self.ended();
        assert_eq!(status.code(), Some(0), "{said:#?}");
        said
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already, which is no fault.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
