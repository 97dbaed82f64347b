//! The servers that are measured, each a process of this program.
//!
//! All of them answer `GET /events` with a stream and hand the body of `POST /publish` to every
//! stream. They switch off Nagle's algorithm and say `listening on http://ADDR` when ready.

mod idiom;
mod layer;
mod never_ready;
mod raw;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::serve::ListenerExt;

use crate::cli::{ServeTarget, Target};
use crate::process;

/// Where all targets stream.
pub(crate) const SUBSCRIBE_PATH: &str = "/events";

/// Where all targets that stream something take it.
pub(crate) const PUBLISH_PATH: &str = "/publish";

/// Begins the line that a target prints when it is ready.
pub(crate) const READY: &str = "listening on ";

/// Serves until the process ends.
pub(crate) fn serve(asked: &ServeTarget) -> Result<()> {
    if asked.die_with_parent {
        process::die_with_parent()?;
    }
    process::pin(&asked.cores)?;
    process::raise_open_files()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, asked.port));
    let heartbeats = asked.heartbeats;
    match asked.target {
        Target::PrismLayer => serve_router(layer::router(heartbeats)?, address, asked.workers),
        Target::AxumIdiom => serve_router(idiom::router(heartbeats), address, asked.workers),
        Target::NeverReady => serve_router(never_ready::router(None), address, asked.workers),
        Target::OneLine => {
            let router = never_ready::router(Some("retry: 3000\n\n"));
            serve_router(router, address, asked.workers)
        }
        Target::Raw => {
            ensure!(asked.workers == 1, "the target `raw` has one thread");
            raw::serve(address)
        }
        Target::External => anyhow::bail!("an external server is started by others"),
    }
}

fn serve_router(router: Router, address: SocketAddr, workers: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .context("the runtime does not start")?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        say_ready(listener.local_addr()?)?;
        // A socket that refuses the option is as good as closed.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        // A bare router would be copied, route by route, for each connection.
        let service = router.into_make_service();
        let serving = tokio::spawn(axum::serve(listener, service).into_future());
        Ok(serving.await??)
    })
}

fn say_ready(address: SocketAddr) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{READY}http://{address}")?;
    Ok(out.flush()?)
}
