//! Builds the way from the sources to the log, from the log upwards: each part receives what it sends to. What lies
//! behind the log is [`super::delivery`]'s.

use std::sync::{Arc, Weak};

use actix::Actor;
use actix_rt::ArbiterHandle;
use arc_swap::ArcSwap;

use super::backends::{dead_letter_topic, record_topics};
use super::reload::intake_rules;
use super::sources::Sources;
use super::threads::{Threads, home};
use crate::actors::decoder::Decoder;
use crate::actors::group::LagSource;
use crate::actors::partition_producer::PartitionProducer;
use crate::codec::Codecs;
use crate::config::Config;
use crate::intake::Path;
use crate::intake::append::Producer;
use crate::intake::decode::DecoderMailbox;
use crate::intake::routes::{Routes, TopicRoute};
use crate::intake::rules::LiveIntakeRules;
use crate::log::{Log, TopicPartition, TopicSpec};
use crate::observe::View;
use crate::supervision::{ActorRef, ChildSpec, Lifeline};
use crate::telemetry::now_us;

/// What was built, as far as others need it.
pub(super) struct Built {
    /// How messages are taken in.
    pub(super) rules: LiveIntakeRules,
    /// Where dead letters go.
    pub(super) dead_letter: TopicRoute,
}

/// The log as lags see it; it may be closed already.
struct SeenLog(Weak<dyn Log>);

/// What every part is built from.
struct Parts<'a> {
    config: &'a Config,
    view: &'a View,
    threads: &'a Threads,
}

/// Builds and starts the way from the sources to the log, the log's side first, and opens intake.
pub(super) async fn build(
    config: &Config,
    codecs: &Arc<Codecs>,
    sources: &Sources,
    view: &View,
    log: &Arc<dyn Log>,
    threads: &Threads,
) -> Built {
    let parts = Parts { config, view, threads };
    view.lags.expect(&record_topics(config), SeenLog(Arc::downgrade(log)));
    let dead_letter = parts.topic_route(log, &dead_letter_topic(config));
    let rules: LiveIntakeRules =
        Arc::new(ArcSwap::from_pointee(intake_rules(config, Arc::clone(codecs), &record_topics(config))));
    let path = parts.path(parts.routes(log, dead_letter.clone()), &rules);
    let decoders = parts.decoders(&path);
    // The first package must find everyone there, or its device would be told to come back.
    view.supervisor.tree().all_started().await;
    sources.intake.open(path, decoders);
    Built { rules, dead_letter }
}

// === impl SeenLog ===

impl LagSource for SeenLog {
    fn is_spare(&self) -> bool {
        self.0.upgrade().is_some_and(|log| log.is_spare())
    }

    fn now_ms(&self) -> u64 {
        self.0.upgrade().map_or_else(|| now_us() / 1000, |log| log.now_ms())
    }
}

// === impl Parts ===

impl Parts<'_> {
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
