//! The servers that are measured, each a process of its own.
//!
//! All of them answer `GET /events` with a stream and hand the body of `POST /publish` to every
//! stream. Those that have topics stream one of them at `/topics/NAME`, and take what is published
//! to it at `/publish/NAME`. The hub and the server it is compared to take forms instead, as
//! `manner` says. They switch off Nagle's algorithm and say `listening on http://ADDR` when ready.

mod bare;
mod hub;
mod idiom;
mod layer;
mod nchan;
mod never_ready;
#[cfg(prism_peers)]
mod peer;
mod raw;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::serve::ListenerExt;

use crate::cli::{ServeTarget, Target};
use crate::process;

pub(crate) use nchan::leave_nothing;

/// Where all targets stream.
pub(crate) const SUBSCRIBE_PATH: &str = "/events";

/// Where all targets that stream something take it.
pub(crate) const PUBLISH_PATH: &str = "/publish";

/// Where targets that have topics stream one.
pub(crate) const SUBSCRIBE_TOPIC_PATH: &str = "/topics/{topic}";

/// Where they take what is published to one.
pub(crate) const PUBLISH_TOPIC_PATH: &str = "/publish/{topic}";

/// Where the hub streams and takes events.
pub(crate) const HUB_PATH: &str = "/events";

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
        Target::PrismServe => serve_prism(layer::router(asked)?, address, asked),
        Target::PrismLayer => serve_router(layer::router(asked)?, address, asked),
        Target::AxumIdiom => serve_router(idiom::router(heartbeats), address, asked),
        Target::BarePublish => serve_router(bare::router(heartbeats), address, asked),
        Target::PrismHub => hub::serve(address, asked),
        Target::NeverReady => serve_router(never_ready::router(None), address, asked),
        Target::OneLine => {
            let router = never_ready::router(Some("retry: 3000\n\n"));
            serve_router(router, address, asked)
        }
        Target::Raw => {
            ensure!(asked.workers.get() == 1, "the target `raw` has one thread");
            raw::serve(address, asked.history)
        }
        #[cfg(prism_peers)]
        Target::ActixWebLab => peer::serve(address, asked),
        #[cfg(not(prism_peers))]
        Target::ActixWebLab => {
            anyhow::bail!(
                "set RUSTFLAGS=\"--cfg prism_peers\" and build again for the target `actix-web-lab`"
            )
        }
        Target::NginxNchan => nchan::serve(address, asked),
        Target::External => anyhow::bail!("an external server is started by others"),
    }
}

fn serve_router(router: Router, address: SocketAddr, asked: &ServeTarget) -> Result<()> {
    runtime(asked)?.block_on(async {
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

fn serve_prism(router: Router, address: SocketAddr, asked: &ServeTarget) -> Result<()> {
    runtime(asked)?.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        say_ready(listener.local_addr()?)?;
        let serving = prism_sse::serve(listener, router.into_make_service())
            .shards(asked.workers.get())
            // Among a million subscribers on one machine one may be slow to ask.
            .header_timeout(Duration::from_secs(60));
        // Where there are no heartbeats on purpose, the system is to be silent too, as in `raw`.
        let serving = if asked.heartbeats { serving } else { serving.no_keep_alive() };
        Ok(tokio::spawn(serving.into_future()).await??)
    })
}

fn runtime(asked: &ServeTarget) -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(asked.workers.get())
        .enable_all()
        .build()
        .context("the runtime does not start")
}

fn say_ready(address: SocketAddr) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{READY}http://{address}")?;
    Ok(out.flush()?)
}
