//! The command line, and with it the names, the defaults and the explanations of all settings.

#![allow(rustdoc::bare_urls, reason = "what is read here is read in a terminal")]

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

const EXAMPLES: &str = "\
Try it out:
  prism-hub serve --dev
  prism-hub listen http://127.0.0.1:8080/events --topic news
  prism-hub publish http://127.0.0.1:8080/events --topic news --data 'Hello, World!'

Exit status: 0 ok, 1 refused or failed, 2 wrong usage.";

const SERVE_HELP: &str = "\
Every setting may also stand in the environment and in a file, by the same name: --max-body 1MiB is
PRISM_HUB_MAX_BODY=1MiB, and `max-body = \"1MiB\"` in TOML. A flag that may be repeated is separated
by commas in the environment, and an array in the file. The flag wins over the environment, and the
environment over the file.

Durations read 250ms, 15s, 2m, 24h; sizes read 64KiB, 1MiB, 1GiB; no limit is `unlimited`.

SIGTERM ends it gracefully, SIGHUP reads keys, limits and certificates again.";

/// A hub for Server-Sent Events: any program publishes with one POST, any browser reads with
/// `new EventSource(url)`.
#[derive(Debug, Parser)]
#[command(name = "prism-hub", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub mode: Mode,
    /// How the log is written, on standard error
    #[arg(long, value_name = "FORM", value_enum, default_value = "text", global = true)]
    #[arg(env = "PRISM_HUB_LOG", hide_env_values = true, help_heading = "Log")]
    pub log: LogForm,
    /// What is worth a line in the log; at `debug`, every request is
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "info", global = true)]
    #[arg(env = "PRISM_HUB_LOG_LEVEL", hide_env_values = true, help_heading = "Log")]
    pub log_level: LogLevel,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    /// Lines for people
    Text,
    /// Lines of JSON, for programs
    Json,
}

/// What is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What failed
    Error,
    /// And what may
    Warn,
    /// And what changed
    Info,
    /// And every request
    Debug,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Mode {
    /// Shows what this is for: examples and a debugger on one page, on this machine only
    Demo(DemoArgs),
    /// Serves events
    #[command(after_help = SERVE_HELP)]
    Serve(Box<ServeArgs>),
    /// Publishes one event, and prints its id
    Publish(PublishArgs),
    /// Prints events as they come, and connects again whenever it is cut off
    Listen(ListenArgs),
    /// Makes a token, and prints it
    Token(TokenArgs),
    /// Checks a configuration file
    Check(CheckArgs),
    /// Prints what a shell needs to complete this program's arguments
    Completions(CompletionsArgs),
}

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Where to serve; a loopback address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: String,
}

/// Arguments of `serve`: every setting, as text.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Where to serve; may be repeated
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    #[arg(help_heading = "Where")]
    pub listen: Vec<String>,
    /// Where to serve metrics and the console, or `off`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    #[arg(help_heading = "Where")]
    pub admin_listen: Option<String>,
    /// A file with settings
    #[arg(long, value_name = "FILE", help_heading = "Where")]
    pub config: Option<String>,
    /// Chain of certificates, PEM
    #[arg(long, value_name = "FILE", help_heading = "Where")]
    pub tls_cert: Option<String>,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", help_heading = "Where")]
    pub tls_key: Option<String>,
    /// Where clients find the hub, such as https://hub.example.com
    #[arg(long, value_name = "URL", help_heading = "Where")]
    pub public_url: Option<String>,

    /// What keeps the events: `memory`
    #[arg(long, value_name = "ENGINE", default_value = "memory", help_heading = "Events")]
    pub engine: Option<String>,
    /// What an acknowledged event survives: memory, os or fsync
    #[arg(long, value_name = "WORD", default_value = "memory", help_heading = "Events")]
    pub durability: Option<String>,
    /// Age up to which events are kept
    #[arg(long, value_name = "TIME", default_value = "24h", help_heading = "Events")]
    pub retention_age: Option<String>,
    /// Size up to which events are kept
    #[arg(long, value_name = "SIZE", default_value = "1GiB", help_heading = "Events")]
    pub retention_bytes: Option<String>,
    /// Number up to which events are kept
    #[arg(long, value_name = "N", default_value = "unlimited", help_heading = "Events")]
    pub retention_count: Option<String>,
    /// Time for which a publish with the same key is the same publish, or `off`
    #[arg(long, value_name = "TIME", default_value = "2m", help_heading = "Events")]
    pub idempotency_window: Option<String>,

    /// Key of publishers' tokens: TEXT, file:PATH (PEM or a secret) or env:NAME
    #[arg(long, value_name = "KEY", help_heading = "Who may do what")]
    #[arg(allow_hyphen_values = true)]
    pub publisher_key: Option<String>,
    /// Key of subscribers' tokens
    #[arg(long, value_name = "KEY", help_heading = "Who may do what")]
    #[arg(allow_hyphen_values = true)]
    pub subscriber_key: Option<String>,
    /// A set of keys (RFC 7517): https://HOST/PATH or file:PATH, or ISSUER= and one of them; may be
    /// repeated. Over http from a loopback address alone; fetched every 5 minutes and at SIGHUP
    #[arg(long, value_name = "KEYS", help_heading = "Who may do what")]
    pub jwks: Vec<String>,
    /// Issuer of draft-08 tokens; may be repeated. The first owns the two keys above
    #[arg(long, value_name = "URL", help_heading = "Who may do what")]
    pub issuer: Vec<String>,
    /// Name of this hub in draft-08 tokens; may be repeated. The public URL +
    /// /.well-known/mercure unless said
    #[arg(long, value_name = "URL", help_heading = "Who may do what")]
    pub audience: Vec<String>,
    /// Lets everybody read what is public
    #[arg(long, value_name = "on|off", default_value = "off", help_heading = "Who may do what")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub anonymous: Option<String>,
    /// Allows everything without a token, on loopback addresses only
    #[arg(long, value_name = "on|off", default_value = "off", help_heading = "Who may do what")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub dev: Option<String>,
    /// An origin whose pages may read, with cookies; may be repeated. `*` is all, without
    #[arg(long, value_name = "ORIGIN", help_heading = "Who may do what")]
    pub cors_origin: Vec<String>,
    /// An origin whose pages may publish with a cookie; may be repeated
    #[arg(long, value_name = "ORIGIN", help_heading = "Who may do what")]
    pub publish_origin: Vec<String>,

    /// Understands draft-07 of the Mercure protocol, up to 0.24
    #[arg(long, value_name = "on|off", default_value = "on", help_heading = "Protocol")]
    pub compat_draft_07: Option<String>,
    /// Cookie with a draft-07 token. That of draft-08 is always __Secure-mercure_access_token
    #[arg(long, value_name = "NAME", default_value = "mercureAuthorization")]
    #[arg(help_heading = "Protocol")]
    pub cookie_name: Option<String>,
    /// Publishes who subscribes, and serves the subscription API
    #[arg(long, value_name = "on|off", default_value = "off", help_heading = "Protocol")]
    pub subscriptions: Option<String>,
    /// Silence after which a connection gets a heartbeat, or `off`
    #[arg(long, value_name = "TIME", default_value = "15s", help_heading = "Protocol")]
    pub heartbeat: Option<String>,
    /// Time after which a reader that was cut off comes back; each gets up to half as much again
    #[arg(long, value_name = "TIME", default_value = "3s", help_heading = "Protocol")]
    pub retry: Option<String>,
    /// Age at which a connection is ended
    #[arg(long, value_name = "TIME", default_value = "1h", help_heading = "Protocol")]
    pub max_age: Option<String>,
    /// What happens to a reader that is too slow: disconnect, skip or latest
    #[arg(long, value_name = "WORD", default_value = "disconnect", help_heading = "Protocol")]
    pub on_lag: Option<String>,
    /// How readers are refused for want of capacity: soft (they come back) or status
    #[arg(long, value_name = "WORD", default_value = "soft", help_heading = "Protocol")]
    pub refuse: Option<String>,

    /// Most connections; four fifths of the files it may open unless said
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_connections: Option<String>,
    /// Most connections from one address. Behind a proxy all readers have one address
    #[arg(long, value_name = "N", default_value = "unlimited", help_heading = "Limits")]
    pub max_connections_per_ip: Option<String>,
    /// Largest body of a request
    #[arg(long, value_name = "SIZE", default_value = "1MiB", help_heading = "Limits")]
    pub max_body: Option<String>,
    /// Longest time for the head of a request to arrive
    #[arg(long, value_name = "TIME", default_value = "10s", help_heading = "Limits")]
    pub header_timeout: Option<String>,
    /// Threads that deliver; as many as there are processors unless said
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub shards: Option<String>,
    /// Time over which open streams are ended at a shutdown
    #[arg(long, value_name = "TIME", default_value = "30s", help_heading = "Limits")]
    pub drain: Option<String>,
}

/// Arguments of `publish`.
#[derive(Args, Debug)]
pub struct PublishArgs {
    /// The hub's endpoint, such as http://127.0.0.1:8080/events
    pub url: String,
    /// What the event is about; may be repeated
    #[arg(long, value_name = "TOPIC", required = true)]
    pub topic: Vec<String>,
    /// What it says; `-` reads standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub data: Option<String>,
    /// What kind of event it is
    #[arg(long, value_name = "NAME")]
    pub event: Option<String>,
    /// Its id; the hub makes one unless said
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Time after which a reader that is cut off comes back, in milliseconds
    #[arg(long, value_name = "MS")]
    pub retry: Option<String>,
    /// Only for readers whose token grants one of its topics
    #[arg(long)]
    pub private: bool,
    /// The token that allows it
    #[arg(long, value_name = "JWT", env = "PRISM_HUB_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// Arguments of `listen`.
#[derive(Args, Debug)]
pub struct ListenArgs {
    /// The hub's endpoint, such as http://127.0.0.1:8080/events
    pub url: String,
    /// What to read: a topic, or `*`; may be repeated
    #[arg(long, value_name = "TOPIC", required = true)]
    pub topic: Vec<String>,
    /// Begins after this event
    #[arg(long, value_name = "ID")]
    pub last_event_id: Option<String>,
    /// The token that allows it
    #[arg(long, value_name = "JWT", env = "PRISM_HUB_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Prints each event as one line of JSON: {"id","event","data"}
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `token`.
#[derive(Args, Debug)]
pub struct TokenArgs {
    /// The key to sign with: TEXT, file:PATH (a secret or a private key as PEM) or env:NAME
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub key: String,
    /// Which draft of the Mercure protocol it is for
    #[arg(long, value_enum, default_value = "07")]
    pub dialect: DialectArg,
    /// Allows to publish to what this selects: a topic, `*`, a URI Template (draft-07) or
    /// urlpattern:PATTERN (draft-08); may be repeated
    #[arg(long, value_name = "SELECTOR")]
    pub publish: Vec<String>,
    /// Allows to read what is private and this selects; may be repeated
    #[arg(long, value_name = "SELECTOR")]
    pub subscribe: Vec<String>,
    /// How long it is valid
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub ttl: String,
    /// Who issues it; draft-08 needs it
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// The hub it is for; draft-08 needs it
    #[arg(long, value_name = "URL")]
    pub audience: Option<String>,
}

/// The draft of the Mercure protocol that a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DialectArg {
    /// As deployed up to 0.24: topics, URI Templates and `*`
    #[value(name = "07")]
    Draft07,
    /// Of 1.0: topics, URL Patterns and `*`
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
