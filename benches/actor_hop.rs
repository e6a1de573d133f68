//! What a hop between actors costs: a credit, a message through an [`ActorRef`] to an actor on another thread, and the
//! credit's return, beside the same through a bare bounded channel.
//!
//! The baseline does less: nobody restarts the channel's receiver, and nothing is shown of it.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc;

use actix::{Actor, Context, Handler, Message};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use surgetank::flow::credit::Credit;
use surgetank::supervision::{ActorRef, ChildSpec, Lifeline, RestartPolicy, Supervisor};

const NUM_MESSAGES: u64 = 10_000;
const BOUND: u32 = 256;

struct Sink {
    _lifeline: Lifeline,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Work {
    payload: Vec<u8>,
    last: Option<mpsc::Sender<()>>,
    _credit: Credit,
}

impl Actor for Sink {
    type Context = Context<Self>;
}

impl Handler<Work> for Sink {
    type Result = ();

    fn handle(&mut self, work: Work, _: &mut Self::Context) {
        black_box(work.payload.len());
        if let Some(last) = work.last {
            let _ = last.send(());
        }
    }
}

fn bench_hop(criterion: &mut Criterion) {
    let system = actix_rt::System::new();
    let policy = RestartPolicy {
        backoff_min: std::time::Duration::from_millis(1),
        backoff_max: std::time::Duration::from_millis(1),
        max_restarts: 1,
        period: std::time::Duration::from_secs(1),
    };
    let (sink, _supervisor, _arbiter) = system.block_on(async {
        let (supervisor, _gave_up) = Supervisor::start(policy);
        let arbiter = actix_rt::Arbiter::new();
        let sink: ActorRef<Sink> = ActorRef::new(BOUND);
        let reference = sink.clone();
        let start = Arc::new(move |lifeline| reference.point_to(Sink { _lifeline: lifeline }.start()));
        let home = arbiter.handle();
        supervisor.supervise(ChildSpec { group: "bench", name: "sink".to_owned(), home, edge: None, start });
        while !sink.is_up() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        (sink, supervisor, arbiter)
    });

    let mut group = criterion.benchmark_group("hop");
    group.throughput(Throughput::Elements(NUM_MESSAGES));
    group.bench_function(BenchmarkId::new("actor", BOUND), |bencher| {
        bencher.iter(|| {
            let (done, last) = mpsc::channel();
            system.block_on(async {
                for number in 1..=NUM_MESSAGES {
                    let credit = sink.credits().take().await;
                    let last = (number == NUM_MESSAGES).then(|| done.clone());
                    sink.send(Work { payload: Vec::with_capacity(64), last, _credit: credit });
                }
            });
            last.recv()
        });
    });
    group.bench_function(BenchmarkId::new("channel", BOUND), |bencher| {
        bencher.iter(|| {
            let (sender, receiver) = mpsc::sync_channel::<Vec<u8>>(BOUND as usize);
            let receiving = std::thread::spawn(move || {
                while let Ok(payload) = receiver.recv() {
                    black_box(payload.len());
                }
            });
            for _ in 0..NUM_MESSAGES {
                let _ = sender.send(Vec::with_capacity(64));
            }
            drop(sender);
            receiving.join()
        });
    });
    group.finish();
}

criterion_group!(benches, bench_hop);
criterion_main!(benches);
