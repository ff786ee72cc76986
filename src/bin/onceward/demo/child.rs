//! The demo's own program once more, as the process that is killed.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStderr, Command};
use tokio::sync::oneshot;

use super::client::{Client, PATIENCE};
use crate::Failure;

/// A process that serves the sample API.
pub(crate) struct Child {
    process: tokio::process::Child,
    address: SocketAddr,
    /// Kept open: the process may have more to say.
    _lines: Lines<BufReader<ChildStderr>>,
}

impl Child {
    /// Starts one on `directory`, and waits until it listens.
    pub(crate) async fn start(directory: &Path) -> Result<Self, Failure> {
        let failed = |why: String| Failure::Failed(format!("the process to be killed: {why}"));
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let mut process = Command::new(program)
            .args(["demo", "--child", "--listen", "127.0.0.1:0", "--data"])
            .arg(directory)
            // It ends when this one does, whatever way that happens: see `until_orphaned`.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let stderr = process.stderr.take();
        let stderr = stderr.ok_or_else(|| failed("it has no standard error".to_owned()))?;
        let mut lines = BufReader::new(stderr).lines();
        let listening = async {
            let mut said = String::new();
            while let Some(line) = lines.next_line().await.map_err(|e| failed(e.to_string()))? {
                let address = line.strip_prefix("listening on http://");
                if let Some(address) = address.and_then(|address| address.parse().ok()) {
                    return Ok(address);
                }
                said = line;
            }
            Err(failed(said))
        };
        let address = tokio::time::timeout(PATIENCE, listening)
            .await
            .map_err(|_| failed("it does not start to listen".to_owned()))??;
        Ok(Self { process, address, _lines: lines })
    }

    /// A client for its API.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Kills it, with SIGKILL where there are signals, and waits until it is gone.
    pub(crate) async fn kill(mut self) -> Result<(), Failure> {
        self.process
            .kill()
            .await
            .map_err(|error| Failure::Failed(format!("a process cannot be killed: {error}")))
    }
}

/// Waits until the process that started this one is gone: it holds the other end of standard input.
pub(crate) async fn until_orphaned() {
    let (gone, wait) = oneshot::channel();
    // A read that cannot be given up needs a thread that nobody waits for.
    std::thread::spawn(move || {
        let ended = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        gone.send(ended)
    });
    let _ = wait.await;
}
