//! Builds the way from the doors to the log, from the log upwards: each part receives what it sends to. What lies behind the
//! log is [`super::delivery`]'s.

use std::sync::Arc;

use actix::Actor;
use actix_rt::ArbiterHandle;
use arc_swap::ArcSwap;

use super::doors::Doors;
use super::reload::intake_rules;
use super::rooms::{dead_letter_topic, record_topics};
use super::threads::{Threads, home};
use crate::actors::decoder::{Decoder, DecoderParts};
use crate::actors::intake::LiveIntakeRules;
use crate::actors::partition_producer::PartitionProducer;
use crate::actors::routes::{Routes, TopicRoute};
use crate::config::Config;
use crate::http::View;
use crate::log::{Log, TopicPartition, TopicSpec};
use crate::protocol::layout::Catalog;
use crate::supervision::{ActorRef, ChildSpec, Lifeline};

/// What was built, as far as others need it.
pub(super) struct Intake {
    /// How messages are taken in.
    pub(super) rules: LiveIntakeRules,
    /// Where dead letters go.
    pub(super) dead_letter: TopicRoute,
}

/// What every part is built from.
struct Parts<'a> {
    config: &'a Config,
    view: &'a View,
    threads: &'a Threads,
}

/// Builds and starts the way from the doors to the log, the log's side first, and opens the doors.
pub(super) async fn build(
    config: &Config,
    catalog: &Arc<Catalog>,
    doors: &Doors,
    view: &View,
    log: &Arc<dyn Log>,
    threads: &Threads,
) -> Intake {
    let parts = Parts { config, view, threads };
    let weak = Arc::downgrade(log);
    view.lags.expect(&record_topics(config), move || weak.upgrade().is_some_and(|log| log.is_spare()));
    let dead_letter = parts.topic_route(log, &dead_letter_topic(config));
    let rules: LiveIntakeRules =
        Arc::new(ArcSwap::from_pointee(intake_rules(config, Arc::clone(catalog), &record_topics(config))));
    let decoder_parts = parts.decoder_parts(parts.routes(log, dead_letter.clone()), &rules);
    let decoders = parts.decoders(&decoder_parts);
    // The first package must find everyone there, or its device would be told to come back.
    view.supervisor.tree().all_started().await;
    doors.lead_to(config, decoders, decoder_parts);
    Intake { rules, dead_letter }
}

// === impl Parts ===

impl Parts<'_> {
    fn topic_route(&self, log: &Arc<dyn Log>, topic: &TopicSpec) -> TopicRoute {
        let start = |number: u32| {
            let partition = TopicPartition { topic: Arc::clone(&topic.name), partition: number };
            let (log, telemetry) = (Arc::clone(log), Arc::clone(&self.view.telemetry));
            let name = partition.to_string();
            let build =
                move |lifeline| PartitionProducer::new(partition.clone(), Arc::clone(&log), &telemetry, lifeline);
            let home = home(&self.threads.producers, number as usize);
            let bound = self.config.producer.mailbox_batches.get() as u32;
            supervise(self.view, "partition_producer", name, home, bound, build)
        };
        let limit = log.record_limit(&topic.name);
        TopicRoute { partitions: (0..topic.num_partitions).map(start).collect(), limit }
    }

    fn routes(&self, log: &Arc<dyn Log>, dead_letter: TopicRoute) -> Routes {
        let specs = record_topics(self.config);
        let topics = specs.iter().map(|topic| self.topic_route(log, topic)).collect();
        Routes { topics, dead_letter }
    }

    fn decoder_parts(&self, routes: Routes, rules: &LiveIntakeRules) -> Arc<DecoderParts> {
        Arc::new(DecoderParts {
            routes,
            rules: Arc::clone(rules),
            clock: Arc::clone(&self.view.clock),
            max_wait: self.config.producer.max_wait,
            telemetry: Arc::clone(&self.view.telemetry),
        })
    }

    fn decoders(&self, parts: &Arc<DecoderParts>) -> Vec<ActorRef<Decoder>> {
        let start = |index: usize| {
            let parts = Arc::clone(parts);
            let build = move |lifeline| Decoder::new(Arc::clone(&parts), lifeline);
            let bound = self.config.decoder.mailbox_packages.get() as u32;
            supervise(self.view, "decoder", index.to_string(), home(&self.threads.decoders, index), bound, build)
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
