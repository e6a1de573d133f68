//! What the servers beside the engine say of themselves while they are frozen, killed and brought back.
//!
//! The log and the store are asked directly: the engine does so only every 20 s.

use std::sync::Arc;

use surgetank::engine::{all_topics, load_codecs, open_log, open_store, tables};
use surgetank::flow::cluster::{Clusters, Heard, Replication};
use surgetank::log::{Log, TopicSpec};
use surgetank::schema::row::Table;
use surgetank::store::Store;
use tokio::runtime::Handle;

use crate::common::until;
use crate::engine_faults::{ONE_AT_A_TIME, servers};

/// Both backends, asked as the engine asks them.
struct Asked {
    log: Arc<dyn Log>,
    store: Arc<dyn Store>,
    topics: Vec<TopicSpec>,
    tables: Vec<Arc<Table>>,
}

impl Asked {
    async fn clusters(&self) -> Clusters {
        let (log, store) = tokio::join!(self.log.cluster(&self.topics), self.store.cluster(&self.tables));
        let log = log.map_or(Heard::Silent, |told| Heard::Told(told.unwrap()));
        Clusters { log, store: Heard::Told(store.unwrap().unwrap()) }
    }

    async fn until(&self, what: &str, wanted: Replication) -> Clusters {
        until(what, async || {
            let clusters = self.clusters().await;
            (clusters.replication() == wanted).then_some(clusters)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_frozen_or_killed_change_the_verdict_and_come_back() {
    let Some(servers) = servers() else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    let site = servers.site();
    let config = site.config();
    let topics = all_topics(&config);
    let tables = tables(&config, load_codecs(&config).unwrap().catalog());
    let (log, store) = (open_log(&config).unwrap(), open_store(&config, Handle::current()).await.unwrap());
    log.apply(&topics).await.unwrap();
    store.apply(&tables).await.unwrap();
    let asked = Asked { log, store, topics, tables };
    let sound = asked.until("all to be well", Replication::Ok).await;
    assert_eq!(sound.store.told().unwrap().nodes_up, 1);

    servers.tell("pause", "cassandra").await;
    let frozen = asked.until("a frozen database to be noticed", Replication::Failing).await;
    let store = frozen.store.told().unwrap();
    assert_eq!((store.nodes_up, store.nodes_down), (0, 1), "{store:?}");
    // What it has and does not tell is unknown, and nothing that it lacks.
    assert_eq!(store.pending_tasks["MutationStage"], None);
    assert!(store.probes["cassandra_thread_pools"], "{:?}", store.probes);
    servers.tell("resume", "cassandra").await;
    asked.until("the database to be back", Replication::Ok).await;

    servers.tell("kill", "kafka").await;
    let gone = asked.until("a log that is away to be unknown", Replication::Unknown).await;
    assert_eq!(gone.log, Heard::Silent);
    servers.tell("restart", "kafka").await;
    servers.tell("wait", "kafka").await;
    let back = asked.until("the log to be back", Replication::Ok).await;
    assert_eq!(back.log.told().unwrap().num_brokers, 1);
}
