//! What `benches/peers` compares with, and what it feeds everybody: bare loops that do one thing each, without an
//! engine around them. Not a benchmark by itself: without a command it tells what there is, and ends.

#![allow(clippy::print_stdout)]

mod append;
mod datum;
mod drain;
mod drain_events;
mod drain_readings;
mod draw;
mod events;
mod follow;
mod generate;
mod kafka;
mod readings;
mod serve;

use clap::{Parser, Subcommand};

/// Bare loops to compare Surgetank with
#[derive(Debug, Parser)]
struct Args {
    /// `cargo bench` passes this to every target.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put the same readings into two topics, as Avro and as JSON
    Generate(generate::GenerateArgs),
    /// Put events of users into a topic, as nested JSON
    Events(events::EventsArgs),
    /// Kafka to Cassandra: read Avro or JSON, group rows by database partition, write
    Drain(drain::DrainArgs),
    /// Make a steady load, and watch how long its records take to be rows
    Follow(follow::FollowArgs),
    /// Append records to a topic or a file, as fast as it goes
    Append(append::AppendArgs),
    /// HTTP to Kafka: the body of a request becomes a record, the answer waits for Kafka
    Serve(serve::ServeArgs),
    /// Draw a comparison that comes on stdin as JSON
    Draw(draw::DrawArgs),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Some(Command::Generate(args)) => generate::generate(&args),
        Some(Command::Events(args)) => events::events(&args),
        Some(Command::Drain(args)) => drain::drain(args),
        Some(Command::Follow(args)) => follow::follow(&args),
        Some(Command::Append(args)) => append::append(&args),
        Some(Command::Serve(args)) => serve::serve(&args),
        Some(Command::Draw(args)) => draw::draw(&args),
        None => {
            println!("nothing to measure without a command; see benches/peers/run");
            Ok(())
        }
    }
}
