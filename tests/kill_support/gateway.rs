//! The real gateway as a child process that may be killed, refuse to start, or end by itself.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use super::PATIENCE;

/// The flags of `onceward serve` on the store in `data`, on free ports.
pub fn flags(data: &Path, upstream: &str) -> Vec<String> {
    let data = data.to_str().unwrap();
    let flags = ["--upstream", upstream, "--data", data, "--listen", "127.0.0.1:0", "--admin"];
    let more = ["127.0.0.1:0", "--principal", "single-tenant", "--log", "error"];
    ["serve"].into_iter().chain(flags).chain(more).map(str::to_owned).collect()
}

/// `onceward serve` on the store in `data`.
pub fn command(data: &Path, upstream: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onceward"));
    command.args(flags(data, upstream));
    command
}

/// The same under strace, which makes the system calls that `inject` names fail. strace itself is
/// a process beside it: the child is the gateway.
pub fn traced(data: &Path, upstream: &str, inject: &str) -> Command {
    let mut command = Command::new("strace");
    let calls = inject.split(':').next().unwrap();
    command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e"]);
    command.args([format!("trace={calls}"), "-e".to_owned(), format!("inject={inject}")]);
    command.arg(env!("CARGO_BIN_EXE_onceward")).args(flags(data, upstream));
    command
}

/// A child that is on its way to listening.
pub struct Starting {
    child: Option<Child>,
    lines: Receiver<String>,
    said: Vec<String>,
}

/// A gateway that listens.
pub struct Gateway {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    process: Starting,
}

impl Starting {
    /// Runs `command`, with no variable of the gateway's in the environment.
    pub fn spawn(command: &mut Command) -> Self {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ONCEWARD_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child: Some(child), lines, said: Vec::new() }
    }

    /// Waits until it listens, or has ended: then its status, and all it said.
    pub fn started(mut self) -> Result<Gateway, (ExitStatus, String)> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut admin = unknown;
        while let Some(line) = self.line() {
            if let Some(address) = line.strip_prefix("admin on http://") {
                admin = address.parse().unwrap();
            }
            if let Some(address) = line.strip_prefix("listening on http://") {
                let address = address.parse().unwrap();
                return Ok(Gateway { address, admin, process: self });
            }
        }
        Err(self.ended())
    }

    /// Waits for the process's end: its status, and all it said.
    fn ended(mut self) -> (ExitStatus, String) {
        // Its standard error closes when it ends.
        while self.line().is_some() {}
        let status = self.child.take().unwrap().wait().unwrap();
        (status, self.said.join("\n"))
    }

    fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.said.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("it goes on; it said {:#?}", self.said),
        }
    }
}

impl Gateway {
    /// A gateway on the store in `data`.
    #[track_caller]
    pub fn start(data: &Path, upstream: &str) -> Self {
        let started = Starting::spawn(&mut command(data, upstream)).started();
        started.unwrap_or_else(|(status, said)| panic!("it did not start: {status}: {said}"))
    }

    /// SIGKILL.
    pub fn kill(self) {
        drop(self);
    }

    /// SIGTERM, and waits for the end: its status, and all it said.
    pub fn stop(self) -> (ExitStatus, String) {
        let pid = self.process.child.as_ref().unwrap().id().to_string();
        // A child that has ended is waited for below, and can be signalled until then.
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.ended()
    }

    /// Waits for the end: its status, and all it said.
    pub fn ended(self) -> (ExitStatus, String) {
        self.process.ended()
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already, which is no fault.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
