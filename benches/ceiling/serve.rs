//! HTTP to Kafka and nothing in between: the body of a request becomes a record as it is, unread, and the answer waits until
//! Kafka has confirmed it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context;
use clap::Args;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    broker: String,
    /// Must exist
    #[arg(long)]
    topic: String,
    #[arg(long)]
    partitions: u32,
}

/// Tells whoever sent a record whether it was confirmed.
struct Answers;

struct Way {
    producer: ThreadedProducer<Answers>,
    topic: String,
    num_partitions: u32,
    num_records: AtomicU32,
}

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = Box<oneshot::Sender<bool>>;

    fn delivery(&self, result: &DeliveryResult<'_>, answer: Self::DeliveryOpaque) {
        // A client that has gone does not hear it.
        let _ = answer.send(result.is_ok());
    }
}

async fn post(way: web::Data<Way>, body: web::Bytes) -> HttpResponse {
    let (answer, answered) = oneshot::channel();
    let partition = way.num_records.fetch_add(1, Ordering::Relaxed) % way.num_partitions;
    let record = BaseRecord::<(), _, _>::with_opaque_to(&way.topic, Box::new(answer));
    if way.producer.send(record.partition(partition as i32).payload(&body[..])).is_err() {
        return HttpResponse::ServiceUnavailable().finish();
    }
    match answered.await {
        Ok(true) => HttpResponse::Ok().body("{}"),
        _ => HttpResponse::ServiceUnavailable().finish(),
    }
}

/// Serves until it is killed.
pub fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    // As Surgetank's own producer by default.
    for (key, value) in [
        ("bootstrap.servers", args.broker.as_str()),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("linger.ms", "1"),
        ("compression.type", "lz4"),
    ] {
        config.set(key, value);
    }
    let way = web::Data::new(Way {
        producer: ThreadedProducer::from_config_and_context(&config, Answers).context("starting the producer")?,
        topic: args.topic.clone(),
        num_partitions: args.partitions,
        num_records: AtomicU32::new(0),
    });
    let server = HttpServer::new(move || App::new().app_data(way.clone()).default_service(web::to(post)));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let server = server.workers(workers).bind(args.listen).context("listening")?;
    actix_web::rt::System::new().block_on(server.run()).context("serving")
}
