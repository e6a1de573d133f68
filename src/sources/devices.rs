//! The device port as a source: a listener, and a connection for each device ([`crate::actors::connection`]).

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::Source;
use crate::actors::connection::Edge;
use crate::actors::listener::{Listener, StopAccepting};
use crate::supervision::{ActorRef, Crowd};

/// How often a stop looks whether connections are left.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// See the module.
pub struct DevicePort {
    /// What connections share.
    pub edge: Arc<Edge>,
    /// Counts the connections.
    pub crowd: Arc<Crowd>,
    /// Accepts them.
    pub listener: ActorRef<Listener>,
}

impl Source for DevicePort {
    fn senders(&self) -> &'static str {
        "connections"
    }

    fn close(&self, is_graceful: bool) -> BoxFuture<'static, ()> {
        self.listener.send(StopAccepting);
        if !is_graceful {
            // Connections end with their threads.
            return std::future::ready(()).boxed();
        }
        self.edge.dismiss_all();
        let crowd = Arc::clone(&self.crowd);
        Box::pin(async move {
            while crowd.num_alive() > 0 {
                sleep(LOOK_INTERVAL).await;
            }
        })
    }
}
