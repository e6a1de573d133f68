//! An honest device beside whatever else a test does: the witness that nobody else was disturbed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::device::{Device, position};
use super::{in_time, until_true};

/// A device that sends packages one after the other, and insists that each is accepted.
pub struct Honest {
    num_accepted: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Honest {
    pub async fn start(server: SocketAddr, token: &str) -> Self {
        let (num_accepted, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (Arc::clone(&num_accepted), Arc::clone(&stop));
        let mut device = Device::try_connect(server, "honest", token).await.expect("the honest device is welcome");
        let task = tokio::spawn(async move {
            for sequence in 0.. {
                device.accepted(&[position(sequence, sequence)]).await;
                count.fetch_add(1, Ordering::Relaxed);
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                // A pace, so that the tests have the machine for themselves.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { num_accepted, stop, task }
    }

    /// Waits for an acknowledgement that was not there before.
    pub async fn goes_on(&self) {
        let before = self.num_accepted.load(Ordering::Relaxed);
        until_true("the honest device to be acknowledged", async || {
            self.num_accepted.load(Ordering::Relaxed) > before || self.task.is_finished()
        })
        .await;
        assert!(!self.task.is_finished(), "the honest device was disturbed");
    }

    pub async fn end(self) {
        self.goes_on().await;
        self.stop.store(true, Ordering::Relaxed);
        in_time("the honest device to end", self.task).await.unwrap();
    }
}
