//! Builds the data path from the sink upwards: each part receives what it sends to.

use std::sync::Arc;

use actix::Actor;
use actix_rt::ArbiterHandle;
use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::EngineError;
use super::pipeline::{Pipeline, RunningFleet};
use super::reload::intake_rules;
use super::rooms::{Rooms, dead_letter_topic, record_topics};
use super::sources::Sources;
use super::threads::{Threads, handles, home};
use crate::actors::batch_slots::BatchSlots;
use crate::actors::decoder::Decoder;
use crate::actors::fleet::Fleet;
use crate::actors::gate::Gate;
use crate::actors::group::Group;
use crate::actors::partition_producer::PartitionProducer;
use crate::actors::schemas::Schemas;
use crate::actors::writer::{Tables, Unconfirmed, Writer, WriterParts};
use crate::config::{Config, LogKind};
use crate::flow::consumption::{ConsumptionSettings, Size};
use crate::intake::Path;
use crate::intake::append::Producer;
use crate::intake::decode::DecoderMailbox;
use crate::intake::routes::{Routes, TopicRoute};
use crate::intake::rules::LiveIntakeRules;
use crate::log::{Log, TopicPartition, TopicSpec};
use crate::observe::View;
use crate::schema::Catalog;
use crate::supervision::{ActorRef, ChildSpec, Lifeline};

/// What every part is built from.
struct Parts<'a> {
    config: &'a Config,
    view: &'a View,
    threads: &'a Threads,
}

/// Builds and starts every actor behind the sources, the sink first, and opens intake.
pub(super) async fn build(
    config: &Config,
    catalog: &Arc<Catalog>,
    sources: Sources,
    view: &View,
    (rooms, schemas): (Rooms, Arc<Schemas>),
    threads: &Threads,
) -> Result<Pipeline, EngineError> {
    let parts = Parts { config, view, threads };

    let dead_letter = parts.topic_route(&rooms.log, &dead_letter_topic(config));
    let writers = parts.writers(&rooms, Arc::clone(&schemas), &dead_letter);
    let gate = parts.gate();
    let fleet = parts.fleet(&rooms)?;
    let (subscription, assignments) = rooms.log.subscribe(&record_topics(config))?;
    let log = Arc::downgrade(&rooms.log);
    view.lags.expect(&record_topics(config), move || log.upgrade().is_some_and(|log| log.is_spare()));
    let group = Group {
        supervisor: view.supervisor.clone(),
        homes: handles(&threads.pipeline),
        gate,
        writers,
        settings: ConsumptionSettings {
            full: Size { records: config.consumer.read_records.get(), bytes: config.consumer.read_bytes },
            max_batches_in_flight: config.consumer.max_batches_in_flight.get(),
        },
        slots: BatchSlots::new(config.consumer.large_batches.get()),
        drain_timeout: config.shutdown.drain_timeout / 2,
        memory: view.memory.clone(),
        telemetry: Arc::clone(&view.telemetry),
        lags: view.lags.clone(),
    };
    let (group_stop, on_group_stop) = oneshot::channel();
    let group = tokio::spawn(group.run(assignments, on_group_stop));

    let rules: LiveIntakeRules =
        Arc::new(ArcSwap::from_pointee(intake_rules(config, Arc::clone(catalog), &record_topics(config))));
    let path = parts.path(parts.routes(&rooms.log, dead_letter), &rules);
    let decoders = parts.decoders(&path);
    // The first package must find everyone there, or its device would be told to come back.
    view.supervisor.tree().all_started().await;
    sources.intake.open(path, decoders);
    Ok(Pipeline { sources, group_stop, group, subscription, fleet, rooms, schemas, rules })
}

// === impl Parts ===

impl Parts<'_> {
    fn writers(&self, rooms: &Rooms, schemas: Arc<Schemas>, dead_letter: &TopicRoute) -> Vec<ActorRef<Writer>> {
        let config = &self.config.writer;
        let tables = Arc::new(Tables::new(self.config.store.ttl));
        let unconfirmed = Arc::new(Unconfirmed::new(dead_letter_topic(self.config).name));
        let watched = (Arc::clone(&tables), Arc::clone(&unconfirmed));
        self.view.status.watch(move || watched.0.conditions().into_iter().chain(watched.1.condition()).collect());
        let parts = Arc::new(WriterParts {
            store: Arc::clone(&rooms.store),
            schemas,
            dead_letter: dead_letter.clone(),
            unconfirmed,
            retry: (config.retry_min, config.retry_max),
            memory: self.view.memory.clone(),
            telemetry: Arc::clone(&self.view.telemetry),
            tables,
        });
        let start = |index: usize| {
            let parts = Arc::clone(&parts);
            let build = move |lifeline| Writer::new(Arc::clone(&parts), lifeline);
            let home = home(&self.threads.pipeline, index);
            supervise(self.view, "writer", index.to_string(), home, config.mailbox_batches.get() as u32, build)
        };
        (0..config.actors.get()).map(start).collect()
    }

    fn gate(&self) -> ActorRef<Gate> {
        let gate = ActorRef::new(1);
        let (reference, control) = (gate.clone(), Arc::clone(&self.view.gate));
        self.view.supervisor.supervise(ChildSpec {
            group: "gate",
            name: "store".to_owned(),
            home: home(&self.threads.pipeline, 0),
            edge: None,
            start: Arc::new(move |lifeline| {
                reference.point_to(Gate::new(Arc::clone(&control), lifeline).start());
            }),
        });
        gate
    }

    /// Joins the pods that share this log, if it has a channel for that.
    fn fleet(&self, rooms: &Rooms) -> Result<Option<RunningFleet>, EngineError> {
        let name = match &self.config.log.kind {
            LogKind::Kafka(kafka) => kafka.instance_id.clone(),
            LogKind::Embedded(_) => None,
        };
        let pod = name.unwrap_or_else(|| format!("pod-{:08x}", rand::random::<u32>()));
        let Some(control) = rooms.log.control(&pod)? else { return Ok(None) };
        let gate = Arc::clone(&self.view.gate);
        gate.join_fleet(&pod, record_topics(self.config).iter().map(|topic| topic.num_partitions).sum());
        let fleet = Fleet::new(pod, control, gate, Arc::clone(&rooms.store));
        let (stop, on_stop) = oneshot::channel();
        Ok(Some(RunningFleet { stop, task: tokio::spawn(fleet.run(on_stop)) }))
    }

    fn topic_route(&self, log: &Arc<dyn Log>, topic: &TopicSpec) -> TopicRoute {
        let start = |number: u32| -> Producer {
            let partition = TopicPartition { topic: Arc::clone(&topic.name), partition: number };
            let (log, telemetry) = (Arc::clone(log), Arc::clone(&self.view.telemetry));
            let name = partition.to_string();
            let build =
                move |lifeline| PartitionProducer::new(partition.clone(), Arc::clone(&log), &telemetry, lifeline);
            let home = home(&self.threads.producers, number as usize);
            let bound = self.config.producer.mailbox_batches.get() as u32;
            Arc::new(supervise(self.view, "partition_producer", name, home, bound, build))
        };
        let limit = log.record_limit(&topic.name);
        TopicRoute { partitions: (0..topic.num_partitions).map(start).collect(), limit }
    }

    fn routes(&self, log: &Arc<dyn Log>, dead_letter: TopicRoute) -> Routes {
        let specs = record_topics(self.config);
        let topics = specs.iter().map(|topic| self.topic_route(log, topic)).collect();
        Routes { topics, dead_letter }
    }

    fn path(&self, routes: Routes, rules: &LiveIntakeRules) -> Arc<Path> {
        let (rules, clock) = (Arc::clone(rules), Arc::clone(&self.view.clock));
        Arc::new(Path { routes, rules, clock, max_wait: self.config.producer.max_wait })
    }

    fn decoders(&self, path: &Arc<Path>) -> Vec<DecoderMailbox> {
        let start = |index: usize| -> DecoderMailbox {
            let (path, telemetry) = (Arc::clone(path), Arc::clone(&self.view.telemetry));
            let build = move |lifeline| Decoder::new(Arc::clone(&path), Arc::clone(&telemetry), lifeline);
            let (home, bound) =
                (home(&self.threads.decoders, index), self.config.decoder.mailbox_packages.get() as u32);
            Arc::new(supervise(self.view, "decoder", index.to_string(), home, bound, build))
        };
        (0..self.config.decoder.actors.get()).map(start).collect()
    }
}

/// Starts an actor under supervision, with this many credits on the edge into it.
pub(super) fn supervise<A: Actor<Context = actix::Context<A>>>(
    view: &View,
    group: &'static str,
    name: String,
    home: ArbiterHandle,
    num_credits: u32,
    build: impl Fn(Lifeline) -> A + Send + Sync + 'static,
) -> ActorRef<A> {
    let reference = ActorRef::new(num_credits);
    let current = reference.clone();
    let edge = Some(reference.credits().clone());
    let start = Arc::new(move |lifeline| current.point_to(build(lifeline).start()));
    view.supervisor.supervise(ChildSpec { group, name, home, edge, start });
    reference
}
