//! The real binary: as an engine that runs, or as a command that ends.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use serde_json::Value;

use super::site::Site;
use super::{http, until, until_true};

/// An engine in a process of its own; killed when dropped.
pub struct Process {
    child: Child,
    stderr: Arc<Mutex<Vec<String>>>,
    reading: Option<JoinHandle<()>>,
    pub devices: SocketAddr,
    pub http: SocketAddr,
    pub ingest: SocketAddr,
}

/// The wall clock of a process that was started with its fail point, so many seconds from the right one.
pub struct Clock(std::path::PathBuf);

impl Clock {
    pub fn set(site: &Site, seconds: i64) -> Self {
        let clock = Self(site.path().join("clock"));
        clock.move_to(seconds);
        clock
    }

    pub fn move_to(&self, seconds: i64) {
        // Never half of a number, which would be another one.
        let new = self.0.with_extension("new");
        std::fs::write(&new, seconds.to_string()).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }

    pub fn failpoint(&self) -> String {
        format!("wall_clock=return({})", self.0.display())
    }
}

/// The binary, without anything of this process's environment that it would listen to.
pub fn surgetank(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surgetank"));
    command.args(arguments).env_remove("FAILPOINTS").env_remove("SURGETANK_DEVICE_TOKEN");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SURGETANK__")) {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
pub fn run(arguments: &[&str]) -> Output {
    surgetank(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Exit code and both outputs of a command that has ended.
pub fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A path as an argument.
pub fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Process {
    /// Starts `surgetank run` and waits until it is ready.
    pub async fn start(site: &Site) -> Self {
        let process = Self::start_with(site, "").await;
        let address = process.http;
        until_true("the engine to be ready", async || {
            http::try_get(address, "/health/ready").await.is_some_and(|(status, _)| status == 200)
        })
        .await;
        process
    }

    /// Starts `surgetank run` with these fail points and waits until it takes messages.
    pub async fn start_with(site: &Site, failpoints: &str) -> Self {
        let mut command = surgetank(&["run", "--config", arg(&site.config_path())]);
        if !failpoints.is_empty() {
            command.env("FAILPOINTS", failpoints);
        }
        Self::spawn(command).await
    }

    /// Starts `surgetank run` with these environment variables and waits until it takes messages.
    pub async fn start_under(site: &Site, environment: &[(&str, std::path::PathBuf)]) -> Self {
        let mut command = surgetank(&["run", "--config", arg(&site.config_path())]);
        command.envs(environment.iter().cloned());
        Self::spawn(command).await
    }

    /// Starts `surgetank run` with at most so many open files and waits until it takes messages.
    pub async fn start_with_open_files(site: &Site, limit: u32) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" run --config \"$1\"")]);
        command.args([env!("CARGO_BIN_EXE_surgetank"), arg(&site.config_path())]);
        Self::spawn(command).await
    }

    async fn spawn(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let (lines, sink) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&stderr));
        let reading = std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| sink.lock().push(line)));
        let (devices, http, ingest) = until("the engine to say where it listens", async || {
            let address = |line: &Value, key: &str| line.get(key)?.as_str()?.parse::<SocketAddr>().ok();
            stderr.lock().iter().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                Some((address(&line, "devices")?, address(&line, "http")?, address(&line, "ingest")?))
            })
        })
        .await;
        let process = Self { child, stderr, reading: Some(reading), devices, http, ingest };
        process.tells("\"running\"").await;
        process
    }

    /// The most memory that the process has had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// SIGKILL, and waits for the end, and for the last words.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let _ = self.reading.take().map(JoinHandle::join);
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end of the process, and for its last words.
    pub async fn exited(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let stderr = Arc::clone(&self.stderr);
        let deadline = std::time::Instant::now() + super::PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                // The pipe ends with the process, but may still hold what says why it ended.
                let _ = self.reading.take().map(JoinHandle::join);
                return status;
            }
            assert!(std::time::Instant::now() < deadline, "the process does not end: {:#?}", stderr.lock());
            tokio::time::sleep(super::GLANCE).await;
        }
    }

    /// Waits until stderr tells of this; what other threads of the engine have done may be visible before.
    pub async fn tells(&self, what: &str) {
        let heard = async {
            while !self.told().contains(what) {
                tokio::time::sleep(super::GLANCE).await;
            }
        };
        let in_time = tokio::time::timeout(super::PATIENCE, heard).await.is_ok();
        assert!(in_time, "stderr does not tell of {what:?}: {}", self.told());
    }

    /// What was told on stderr so far.
    pub fn told(&self) -> String {
        self.stderr.lock().join("\n")
    }

    /// Memory in use, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
