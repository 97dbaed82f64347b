//! The command line. The flags of `serve` also give all settings their names, defaults and help.

#![allow(rustdoc::bare_urls, reason = "these comments are the help in a terminal")]

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

const EXAMPLES: &str = "\
Try it out:
  prism-hub serve --dev
  prism-hub listen http://127.0.0.1:8080/events --topic news
  prism-hub publish http://127.0.0.1:8080/events --topic news --data 'Hello, World!'

Exit status: 0 ok, 1 refused or failed, 2 wrong usage.";

const SERVE_HELP: &str = "\
Every setting can also be set in the environment and in a file, under the same name: --max-body
1MiB is PRISM_HUB_MAX_BODY=1MiB in the environment, and `max-body = \"1MiB\"` in TOML. The values
of a flag that may be repeated are separated by commas in the environment, and an array in the
file. A flag takes precedence over the environment, and the environment over the file.

Durations are written 250ms, 15s, 2m, 24h; sizes 64KiB, 1MiB, 1GiB; `unlimited` means no limit.

SIGTERM shuts the hub down gracefully; SIGHUP reloads keys, limits and certificates.";

/// A hub for Server-Sent Events: any program publishes with one POST, any browser subscribes with
/// `new EventSource(url)`.
#[derive(Debug, Parser)]
#[command(name = "prism-hub", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    /// The mode.
    #[command(subcommand)]
    pub mode: Mode,
    /// Format of the log, on standard error
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text", global = true)]
    #[arg(env = "PRISM_HUB_LOG", hide_env_values = true, help_heading = "Log")]
    pub log: LogFormat,
    /// Lowest level that is logged; `debug` logs every request
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "info", global = true)]
    #[arg(env = "PRISM_HUB_LOG_LEVEL", hide_env_values = true, help_heading = "Log")]
    pub log_level: LogLevel,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// Lines of JSON, for programs
    Json,
}

/// The lowest level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Failures
    Error,
    /// Also what may become a failure
    Warn,
    /// Also changes of state
    Info,
    /// Also every request
    Debug,
}

/// A mode of the program.
#[derive(Debug, Subcommand)]
pub enum Mode {
    /// Serves examples and a debugger on one page, on a loopback address
    Demo(DemoArgs),
    /// Serves events
    #[command(after_help = SERVE_HELP)]
    Serve(Box<ServeArgs>),
    /// Publishes one event, and prints its id
    Publish(PublishArgs),
    /// Prints events as they arrive, and reconnects whenever the connection is lost
    Listen(ListenArgs),
    /// Creates a token, and prints it
    Token(TokenArgs),
    /// Checks a configuration file
    Check(CheckArgs),
    /// Prints a completion script for a shell
    Completions(CompletionsArgs),
}

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Address to listen on; a loopback address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: String,
}

/// Arguments of `serve`: every setting, as text. `config` parses them.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Address to listen on; may be repeated
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    #[arg(help_heading = "Addresses")]
    pub listen: Vec<String>,
    /// Address for metrics and the console, or `off`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    #[arg(help_heading = "Addresses")]
    pub admin_listen: Option<String>,
    /// Configuration file, TOML
    #[arg(long, value_name = "FILE", help_heading = "Addresses")]
    pub config: Option<String>,
    /// Certificate chain, PEM
    #[arg(long, value_name = "FILE", help_heading = "Addresses")]
    pub tls_cert: Option<String>,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", help_heading = "Addresses")]
    pub tls_key: Option<String>,
    /// URL under which clients find the hub, such as https://hub.example.com
    #[arg(long, value_name = "URL", help_heading = "Addresses")]
    pub public_url: Option<String>,

    /// Engine that orders and keeps events: `memory`, or `embedded:DIR` with the directory that
    /// keeps them
    #[arg(long, value_name = "ENGINE", default_value = "embedded:./prism-data")]
    #[arg(help_heading = "Events")]
    pub engine: Option<String>,
    /// What an acknowledged event survives at least: memory, os or fsync; by default the most that
    /// the engine gives, and with `dev` os
    #[arg(long, value_name = "WORD", help_heading = "Events")]
    pub durability: Option<String>,
    /// Size up to which the newest events are in memory too, where a directory keeps them; 64MiB by
    /// default
    #[arg(long, value_name = "SIZE", help_heading = "Events")]
    pub memory: Option<String>,
    /// Age up to which events are kept
    #[arg(long, value_name = "TIME", default_value = "24h", help_heading = "Events")]
    pub retention_age: Option<String>,
    /// Size up to which events are kept
    #[arg(long, value_name = "SIZE", default_value = "1GiB", help_heading = "Events")]
    pub retention_bytes: Option<String>,
    /// Number up to which events are kept
    #[arg(long, value_name = "N", default_value = "unlimited", help_heading = "Events")]
    pub retention_count: Option<String>,
    /// Time for which a publish with the same idempotency key counts as a repetition, or `off`
    #[arg(long, value_name = "TIME", default_value = "2m", help_heading = "Events")]
    pub idempotency_window: Option<String>,
    /// Size that the idempotency keys of all publishers may have; those of one may take three
    /// times what is free
    #[arg(long, value_name = "SIZE", default_value = "64MiB", help_heading = "Events")]
    pub idempotency_bytes: Option<String>,

    /// Key of publishers' tokens: TEXT, file:PATH (a public key as PEM, or a secret) or env:NAME
    #[arg(long, value_name = "KEY", help_heading = "Authentication")]
    #[arg(allow_hyphen_values = true)]
    pub publisher_key: Option<String>,
    /// Algorithm of the publishers' key, such as HS512. Default: HS256 for a secret, RS256 for RSA;
    /// other keys have one by their curve
    #[arg(long, value_name = "ALG", help_heading = "Authentication")]
    pub publisher_key_alg: Option<String>,
    /// Key of subscribers' tokens
    #[arg(long, value_name = "KEY", help_heading = "Authentication")]
    #[arg(allow_hyphen_values = true)]
    pub subscriber_key: Option<String>,
    /// Algorithm of the subscribers' key. Default: as for publishers
    #[arg(long, value_name = "ALG", help_heading = "Authentication")]
    pub subscriber_key_alg: Option<String>,
    /// Key set (RFC 7517): https://HOST/PATH or file:PATH, or ISSUER= and one of them; may be
    /// repeated. http is for loopback addresses only. Fetched every 5 minutes and at SIGHUP
    #[arg(long, value_name = "KEYS", help_heading = "Authentication")]
    pub jwks: Vec<String>,
    /// Algorithm of the keys in key sets that have no `alg`: an algorithm such as PS256, or ISSUER=
    /// and one; may be repeated. Default: as for publishers
    #[arg(long, value_name = "ALG", help_heading = "Authentication")]
    pub jwks_alg: Vec<String>,
    /// Issuer of draft-08 tokens; may be repeated. The publisher and subscriber keys belong to the
    /// first
    #[arg(long, value_name = "URL", help_heading = "Authentication")]
    pub issuer: Vec<String>,
    /// Name of this hub in draft-08 tokens; may be repeated. Default: the public URL and
    /// /.well-known/mercure
    #[arg(long, value_name = "URL", help_heading = "Authentication")]
    pub audience: Vec<String>,
    /// Allows subscribers without a token to read public events
    #[arg(long, value_name = "on|off", default_value = "off", help_heading = "Authentication")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub anonymous: Option<String>,
    /// Development mode: allows everything without a token, on loopback addresses only
    #[arg(long, value_name = "on|off", default_value = "off", help_heading = "Authentication")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub dev: Option<String>,
    /// Origin whose pages may read answers, with cookies; may be repeated. `*` is every origin,
    /// without cookies
    #[arg(long, value_name = "ORIGIN", help_heading = "Authentication")]
    pub cors_origin: Vec<String>,
    /// Origin whose pages may publish with a cookie; may be repeated
    #[arg(long, value_name = "ORIGIN", help_heading = "Authentication")]
    pub publish_origin: Vec<String>,

    /// Accepts draft-07 of the Mercure protocol, as deployed up to 0.24
    #[arg(long, value_name = "on|off", default_value = "on", help_heading = "Protocol")]
    pub compat_draft_07: Option<String>,
    /// Cookie for draft-07 tokens. The cookie of draft-08 is always __Secure-mercure_access_token
    #[arg(long, value_name = "NAME", default_value = "mercureAuthorization")]
    #[arg(help_heading = "Protocol")]
    pub cookie_name: Option<String>,
    /// Enables subscription events and the subscription API
    #[arg(long, value_name = "on|off", default_value = "off", help_heading = "Protocol")]
    pub subscriptions: Option<String>,
    /// How long a connection is silent before it gets a heartbeat, or `off`
    #[arg(long, value_name = "TIME", default_value = "15s", help_heading = "Protocol")]
    pub heartbeat: Option<String>,
    /// Reconnection time that connections are told; each is told up to half as much more
    #[arg(long, value_name = "TIME", default_value = "3s", help_heading = "Protocol")]
    pub retry: Option<String>,
    /// Age at which a connection is closed
    #[arg(long, value_name = "TIME", default_value = "1h", help_heading = "Protocol")]
    pub max_age: Option<String>,
    /// What happens to a reader that is too slow: disconnect, skip or latest
    #[arg(long, value_name = "WORD", default_value = "disconnect", help_heading = "Protocol")]
    pub on_lag: Option<String>,
    /// How subscribers are refused for want of capacity: soft (they reconnect) or status
    #[arg(long, value_name = "WORD", default_value = "soft", help_heading = "Protocol")]
    pub refuse: Option<String>,

    /// Maximum number of connections. Default: four fifths of the files that the hub may open
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_connections: Option<String>,
    /// Maximum number of connections from one address. Loopback and private addresses are not
    /// counted, since proxies have them; see --trusted-proxy
    #[arg(long, value_name = "N", default_value = "unlimited", help_heading = "Limits")]
    pub max_connections_per_ip: Option<String>,
    /// Proxies, such as 10.0.0.0/8, whose X-Forwarded-For, or else Forwarded, tells the address
    /// that is counted; may be repeated
    #[arg(long, value_name = "CIDR", help_heading = "Limits")]
    pub trusted_proxy: Vec<String>,
    /// Maximum size of a request body
    #[arg(long, value_name = "SIZE", default_value = "1MiB", help_heading = "Limits")]
    pub max_body: Option<String>,
    /// Time within which the head of a request must arrive
    #[arg(long, value_name = "TIME", default_value = "10s", help_heading = "Limits")]
    pub header_timeout: Option<String>,
    /// Number of delivery threads. Default: one per processor
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub shards: Option<String>,
    /// Time over which open streams are closed at shutdown
    #[arg(long, value_name = "TIME", default_value = "30s", help_heading = "Limits")]
    pub drain: Option<String>,
}

/// Arguments of `publish`.
#[derive(Args, Debug)]
pub struct PublishArgs {
    /// URL of the hub's endpoint, such as http://127.0.0.1:8080/events
    pub url: String,
    /// Topic of the event; may be repeated
    #[arg(long, value_name = "TOPIC", required = true)]
    pub topic: Vec<String>,
    /// Data of the event; `-` reads standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub data: Option<String>,
    /// Name of the event
    #[arg(long, value_name = "NAME")]
    pub event: Option<String>,
    /// Id of the event. Default: the hub assigns one
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Reconnection time that subscribers are told, in milliseconds
    #[arg(long, value_name = "MS")]
    pub retry: Option<String>,
    /// Makes the event private: only for subscribers whose token grants one of its topics
    #[arg(long)]
    pub private: bool,
    /// Token
    #[arg(long, value_name = "JWT", env = "PRISM_HUB_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// Arguments of `listen`.
#[derive(Args, Debug)]
pub struct ListenArgs {
    /// URL of the hub's endpoint, such as http://127.0.0.1:8080/events
    pub url: String,
    /// Topic to subscribe to, or `*`; may be repeated
    #[arg(long, value_name = "TOPIC", required = true)]
    pub topic: Vec<String>,
    /// Starts after the event with this id
    #[arg(long, value_name = "ID")]
    pub last_event_id: Option<String>,
    /// Token
    #[arg(long, value_name = "JWT", env = "PRISM_HUB_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Prints each event as one line of JSON: {"id","event","data"}
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `token`.
#[derive(Args, Debug)]
pub struct TokenArgs {
    /// Key to sign with: TEXT, file:PATH (a private key as PEM, or a secret) or env:NAME
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub key: String,
    /// Algorithm to sign with, such as HS512. Default: HS256 for a secret, RS256 for RSA; other
    /// keys have one by their curve
    #[arg(long, value_name = "ALG")]
    pub key_alg: Option<String>,
    /// Draft of the Mercure protocol
    #[arg(long, value_enum, default_value = "07")]
    pub dialect: DialectArg,
    /// Grants publishing to the topics of this selector: a topic, `*`, a URI Template (draft-07) or
    /// urlpattern:PATTERN (draft-08); may be repeated
    #[arg(long, value_name = "SELECTOR")]
    pub publish: Vec<String>,
    /// Grants reading private events with the topics of this selector; may be repeated
    #[arg(long, value_name = "SELECTOR")]
    pub subscribe: Vec<String>,
    /// How long the token is valid
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub ttl: String,
    /// Issuer; required for draft-08
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// Name of the hub; required for draft-08
    #[arg(long, value_name = "URL")]
    pub audience: Option<String>,
}

/// The draft of the Mercure protocol of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DialectArg {
    /// Draft-07, as deployed up to 0.24: topics, URI Templates and `*`
    #[value(name = "07")]
    Draft07,
    /// Draft-08, of 1.0: topics, URL Patterns and `*`
    #[value(name = "08")]
    Draft08,
}

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The configuration file
    #[arg(value_name = "FILE")]
    pub file: std::path::PathBuf,
}

/// Arguments of `completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}
