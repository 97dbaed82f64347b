//! `serve` and `demo`.

use std::future::Future;

use clap::ArgMatches;

use super::Failure;
use crate::cli::DemoArgs;
use crate::config::{Config, ConfigError, environment};
use crate::serve::{self, Reload, ServeError};

/// Serves what flags, environment and file say.
pub(super) fn serve(matches: ArgMatches) -> Result<(), Failure> {
    let read = move || Config::gather(&matches, environment());
    let config = read().map_err(refused)?;
    if config.auth.dev {
        tracing::warn!("with `dev`, whoever reaches this hub may do everything");
    }
    if config.tls.is_none() && config.listen.iter().any(|it| !it.ip().is_loopback()) {
        tracing::warn!(
            "tokens travel in the clear; put a proxy in front that speaks TLS, or give `tls-cert`"
        );
    }
    for url in config.auth.key_set_urls_without_issuer() {
        tracing::warn!(
            "whatever {url} signs for whomever is trusted if it names topics; `issuer` and \
             `audience` say what is meant for this hub"
        );
    }
    run(serve::serve(config, Reload::new(read)))
}

/// Serves examples, without keys, on this machine only.
pub(super) fn demo(args: &DemoArgs) -> Result<(), Failure> {
    let listen = args.listen.clone();
    let read = move || {
        // Prices go on as long as it runs, and nobody looks back further than this.
        let rest = ["--admin-listen", "off", "--retention-age", "15m", "--retry", "1s"];
        Config::from_args(["--dev", "--listen", &listen].iter().chain(&rest))
    };
    let config = read().map_err(refused)?;
    run(serve::serve_demo(config, Reload::new(read)))
}

fn run(hub: impl Future<Output = Result<(), ServeError>>) -> Result<(), Failure> {
    block_on(async { hub.await.map_err(Failure::failed) })
}

/// Runs a mode to its end.
pub(super) fn block_on(mode: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::failed)?;
    let result = runtime.block_on(mode);
    // A name that is being looked up cannot be given up, and nobody waits for it any more.
    runtime.shutdown_background();
    result
}

/// A wrong flag is wrong usage; a wrong file or variable, or what they say together, is refused.
fn refused(error: ConfigError) -> Failure {
    if error.location().is_flag() { Failure::usage(error) } else { Failure::failed(error) }
}
