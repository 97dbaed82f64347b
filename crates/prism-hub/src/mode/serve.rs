//! The modes `serve` and `demo`.

use std::future::Future;

use clap::ArgMatches;

use super::failure::Failure;
use crate::cli::DemoArgs;
use crate::config::{Config, ConfigError, ConfigSource, Limits, environment};
use crate::serve::{self, ServeError};

/// Serves with the configuration of flags, environment and file.
pub(super) fn serve(matches: ArgMatches) -> Result<(), Failure> {
    let read = move || Config::gather(&matches, environment());
    let config = read().map_err(config_failure)?;
    if config.auth.dev {
        tracing::warn!("with `dev`, whoever reaches this hub may do everything");
    }
    if config.tls.is_none() && config.listen.iter().any(|it| !it.ip().is_loopback()) {
        tracing::warn!(
            "tokens travel in the clear; put a proxy in front that speaks TLS, or give `tls-cert`"
        );
    }
    if let Some(text) = what_is_counted_by_address(&config.limits) {
        tracing::info!("{text}");
    }
    for url in config.auth.key_set_urls_without_issuer() {
        tracing::warn!(
            "whatever {url} signs for whomever is trusted if it names topics; `issuer` and \
             `audience` say what is meant for this hub"
        );
    }
    run(serve::serve(config, ConfigSource::new(read)))
}

/// Says which connections `max-connections-per-ip` counts, if it is set.
fn what_is_counted_by_address(limits: &Limits) -> Option<String> {
    let max = limits.max_connections_per_ip?;
    let of_peers = format!(
        "at most {max} connections are accepted from one address; those from loopback and private \
         addresses are not counted"
    );
    if limits.trusted_proxies.is_empty() {
        return Some(of_peers);
    }
    let proxies: Vec<String> = limits.trusted_proxies.iter().map(ToString::to_string).collect();
    let proxies = proxies.join(", ");
    Some(format!(
        "{of_peers}, and those from {proxies} by the address in X-Forwarded-For or Forwarded"
    ))
}

/// Serves the demo page without keys, to this machine alone.
pub(super) fn demo(args: &DemoArgs) -> Result<(), Failure> {
    let listen = args.listen.clone();
    let config_with = move |engine: &str| {
        // The demo publishes prices without end, and its page shows none that are older.
        let fixed = ["--admin-listen", "off", "--retention-age", "15m", "--retry", "1s"];
        let chosen = ["--dev", "--listen", &listen, "--engine", engine];
        Config::from_args(chosen.iter().chain(&fixed))
    };
    // No directory is made for a demo that cannot listen.
    config_with("memory").map_err(config_failure)?;
    let engine = demo_engine();
    let read = move || config_with(&engine);
    let config = read().map_err(config_failure)?;
    run(serve::serve_demo(config, ConfigSource::new(read)))
}

/// The default directory, so that the demo shows a history that survives it; or memory, if that
/// cannot be used.
fn demo_engine() -> String {
    match prism_store::Store::open(DEMO_DIRECTORY) {
        Ok(_) => format!("embedded:{DEMO_DIRECTORY}"),
        Err(error) => {
            tracing::warn!(
                "the directory {DEMO_DIRECTORY} cannot be used: {error}; the history ends with \
                 this process"
            );
            "memory".to_owned()
        }
    }
}

/// Where the demo keeps its history.
const DEMO_DIRECTORY: &str = "./prism-data";

fn run(hub: impl Future<Output = Result<(), ServeError>>) -> Result<(), Failure> {
    block_on(async { hub.await.map_err(Failure::failed) })
}

/// Runs a mode to its end.
pub(super) fn block_on(mode: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::failed)?;
    let result = runtime.block_on(mode);
    // Does not wait for blocking tasks: a DNS lookup cannot be cancelled.
    runtime.shutdown_background();
    result
}

/// An error in a flag is wrong usage; an error in the file, in a variable, or in their combination
/// is not.
fn config_failure(error: ConfigError) -> Failure {
    if error.location().is_flag() { Failure::usage(error) } else { Failure::failed(error) }
}
