//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::ranges::{Place, place};

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SURGETANK_COMMIT"), ")");

/// Telemetry from devices and apps: durable before it is acknowledged, into the database as fast as the database allows.
#[derive(Debug, Parser)]
#[command(name = "surgetank", version = VERSION, propagate_version = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the engine until SIGTERM or SIGINT; a second signal ends it at once
    Run(ConfigArg),
    /// Check the config and the message layouts without starting anything
    Check(CheckArgs),
    /// Create the topics, keyspace and tables that are missing
    Apply(ConfigArg),
    /// Run the whole path with simulated devices and print a ledger; fails if an acknowledged message is lost
    Demo(DemoArgs),
    /// Simulate devices against a running engine
    Simulate(SimulateArgs),
    /// Play a scenario with the limiter against a modelled store, and compare it with the best fixed limit
    SimulateGate(SimulateGateArgs),
    /// Compare a ledger written by `simulate --ledger` with the store and the dead letters
    Verify(VerifyArgs),
    /// Read the embedded store with SQL, also while the engine runs
    Query(QueryArgs),
    /// Print what could never be written, and why, also while the engine runs
    DeadLetters(DeadLettersArgs),
    /// Ask a running engine for its health; exit code 0 if it is well, for health checks of containers
    Health(HealthArgs),
    /// Try routes into tables without writing anything
    #[command(subcommand)]
    Route(RouteCommand),
    /// Make tokens for the file that credentials.file names
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print shell completions
    Completions {
        /// For which shell
        shell: Shell,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct ConfigArg {
    /// The config file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(super) struct CheckArgs {
    /// The config file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Ask the log and the store, too: topics, tables, their settings, replicas, the servers' limits; changes nothing
    #[arg(long)]
    pub online: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct DemoArgs {
    /// How many devices; each is a TCP connection
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub devices: u32,
    /// For how long messages are made
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Messages per second of the whole fleet; 0 is as fast as it goes
    #[arg(long, default_value_t = 20_000.0, value_name = "MSGS_PER_S", value_parser = rate)]
    pub rate: f64,
    /// Messages in a package
    #[arg(long, default_value_t = 20, value_name = "M", value_parser = clap::value_parser!(u16).range(1..))]
    pub package_size: u16,
    /// Use this config instead of the embedded log and store in data/demo
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The devices' token, if the config has a file of tokens
    #[arg(long, env = "SURGETANK_DEVICE_TOKEN", default_value = "", hide_env_values = true)]
    pub token: String,
    /// Print the ledger as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct SimulateArgs {
    /// Where the engine listens for devices; with several, devices are spread over them and move on when cut off
    #[arg(long, value_name = "HOST:PORT[,...]")]
    pub target: String,
    /// From how many addresses of the loopback network the devices come (127.1.0.0 and on); needed for more
    /// connections than one address has ports
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub source_addresses: u16,
    /// How many devices; each is a TCP connection
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub devices: u32,
    /// Messages per second of the whole fleet; 0 is as fast as it goes
    #[arg(long, default_value_t = 5000.0, value_name = "MSGS_PER_S", value_parser = rate)]
    pub rate: f64,
    /// For how long messages are made
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Messages in a package
    #[arg(long, default_value_t = 20, value_name = "M", value_parser = clap::value_parser!(u16).range(1..))]
    pub package_size: u16,
    /// The devices' token
    #[arg(long, env = "SURGETANK_DEVICE_TOKEN", default_value = "", hide_env_values = true)]
    pub token: String,
    /// Connect by TLS, to a server with a certificate of these authorities
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The devices' certificate; {} stands for a device's id
    #[arg(long, value_name = "FILE", requires_all = ["ca", "key"])]
    pub cert: Option<PathBuf>,
    /// The key of the certificate; {} stands for a device's id
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// The first part of every device id
    #[arg(long, default_value = "truck-")]
    pub device_prefix: String,
    /// How long devices may go on afterwards until everything is acknowledged
    #[arg(long, default_value_t = 60, value_name = "S")]
    pub drain_seconds: u64,
    /// The directory of the message layouts; the built-in fleet's if not given
    #[arg(long, value_name = "DIR")]
    pub messages: Option<PathBuf>,
    /// Write what was sent and acknowledged to this file, for `verify`
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Print the outcome as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct SimulateGateArgs {
    /// The scenario; some are in config/scenarios
    #[arg(value_name = "SCENARIO.toml")]
    pub scenario: PathBuf,
    /// Which limiter; the fixed one with its default thresholds
    #[arg(long, value_enum, default_value_t = LimiterKind::Adaptive)]
    pub limiter: LimiterKind,
    /// Draw limit, latency and goodput over time into this file
    #[arg(long, value_name = "OUT.svg")]
    pub plot: Option<PathBuf>,
    /// Print the outcome as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LimiterKind {
    /// Learns its limits
    Adaptive,
    /// Has the thresholds that are commonly used
    Fixed,
}

#[derive(Debug, ClapArgs)]
pub(super) struct VerifyArgs {
    /// The config of the engine that the ledger's messages were sent to
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The ledger
    #[arg(long, value_name = "FILE")]
    pub ledger: PathBuf,
    /// Print the outcome as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct QueryArgs {
    /// One SQL statement that only reads
    pub sql: String,
    /// The engine's config, for its data directory
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    pub config: Option<PathBuf>,
    /// The data directory
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How to print the rows
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, ClapArgs)]
pub(super) struct DeadLettersArgs {
    /// The engine's config
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Those of this partition of the dead-letter topic only
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,
    /// From this offset of the partition on, or from this time on, by the log's timestamps, such as 2026-11-30T06:15:00Z
    #[arg(long, value_name = "OFFSET|TIME", value_parser = place)]
    pub from: Option<Place>,
    /// Up to this offset or time, without it; what comes while the command runs is not printed in any case
    #[arg(long, value_name = "OFFSET|TIME", value_parser = place)]
    pub to: Option<Place>,
    /// Those of this time until now, such as 2h or "3 days"
    #[arg(long, value_name = "DURATION", conflicts_with = "from", value_parser = humantime::parse_duration)]
    pub since: Option<Duration>,
    /// How to print them: for people without their bytes, or one JSON object a line with them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, ClapArgs)]
pub(super) struct HealthArgs {
    /// What is asked: live, started, ready (a message sent now would be acknowledged), or all that is wrong
    #[arg(value_enum, default_value_t = HealthCheck::Ready)]
    pub check: HealthCheck,
    /// The config of the engine, which has to run on this machine
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub config: Option<PathBuf>,
    /// Where the engine's operators' port is, such as http://127.0.0.1:7401
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The authorities that may have issued the port's certificate, if it speaks TLS
    #[arg(long, value_name = "FILE", requires = "url")]
    pub ca: Option<PathBuf>,
    /// A token of kind observer, if health checks are not public
    #[arg(long, env = "SURGETANK_OBSERVER_TOKEN", default_value = "", hide_env_values = true)]
    pub token: String,
    /// How long the engine may take to answer
    #[arg(long, default_value = "3s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum HealthCheck {
    /// The process answers
    Live,
    /// It has started
    Started,
    /// A message sent now would be acknowledged
    Ready,
    /// No part of it fails; prints all that is wrong
    All,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// JSON objects
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum RouteCommand {
    /// Show the rows that a route would write of the newest records, and why some are none; joins no group, writes nothing
    Test(RouteTestArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct RouteTestArgs {
    /// The config file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The route: the last part of routes.NAME
    #[arg(long, value_name = "NAME")]
    pub route: String,
    /// How many records, the newest ones of all partitions
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub count: u64,
    /// Of this topic, for a route from topics with a pattern
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Take the lines of this file as values of records, instead of the topic's
    #[arg(long, value_name = "LINES")]
    pub file: Option<PathBuf>,
    /// How to print the rows
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Print a new random token on stderr, once, and the lines for the file, which holds only its hash, on stdout
    New(TokenNewArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct TokenNewArgs {
    /// Who uses the token
    #[arg(long, value_enum)]
    pub kind: TokenKindArg,
    /// The device that it is for; all devices if not given
    #[arg(long, value_name = "ID")]
    pub device: Option<String>,
    /// The message types that may be sent with it, separated by commas; all if not given
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    pub types: Vec<String>,
    /// What the file is to call it
    #[arg(long)]
    pub name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TokenKindArg {
    /// A device, in its Hello
    Device,
    /// An HTTP client that sends messages
    Http,
    /// A person or program that looks at the engine over HTTP
    Observer,
    /// An operator who may change the engine's state over HTTP, and look
    #[value(alias = "admin")]
    Operator,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if rate.is_finite() && rate >= 0.0 { Ok(rate) } else { Err("must be 0 or more".to_owned()) }
}
