//! A server that a measurement starts and ends, on a socket in a directory of its own.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::work::sure;

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it may take to end.
const TO_END: Duration = Duration::from_secs(10);

/// The process, which ends with this.
pub(crate) struct Server(Child);

impl Server {
    /// Starts `program` such that it ends when this process does, however that ends; as `user` when
    /// there is one.
    pub(crate) fn start(program: &str, arguments: &[&str], user: Option<&str>) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(user) = user {
            command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
        }
        command.arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        Self(sure(command.spawn()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // In good order, so that it takes its shared memory with it. It may have ended already, which
        // is no fault.
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        let asked = pid.map(|pid| kill_process(pid, Signal::INT));
        let begun = Instant::now();
        while asked == Some(Ok(())) && begun.elapsed() < TO_END {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `ask` gives, once the server answers.
pub(crate) async fn answering<T, E: std::fmt::Display>(
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if begun.elapsed() > PATIENCE => panic!("no server answers: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Gives `directory` to `user`.
pub(crate) fn give(directory: &Path, user: &str) {
    let id = |option: &str| -> u32 {
        let output = sure(Command::new("id").args([option, user]).output());
        sure(String::from_utf8_lossy(&output.stdout).trim().parse())
    };
    sure(chown(directory, Some(id("-u")), Some(id("-g"))));
}
