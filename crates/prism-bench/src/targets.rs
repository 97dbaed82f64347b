//! The servers that are measured, each in its own process.
//!
//! All of them answer `GET /events` with a stream, and send the body of `POST /publish` to all
//! streams. Those that have topics have a stream of each at `/topics/NAME`, and take its events at
//! `/publish/NAME`. The hub, and the server it is compared to, take forms instead; see
//! `server_api`. All switch off Nagle's algorithm, and print `listening on http://ADDR` when ready.

#[cfg(prism_peers)]
mod actix_sse;
mod axum_sse;
mod bare_publish;
mod contract;
mod layer;
mod nchan;
mod never_ready;
mod prism_hub;
mod raw;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::serve::ListenerExt;

use self::contract::print_ready;
pub(crate) use self::contract::{
    HUB_PATH, PUBLISH_PATH, PUBLISH_TOPIC_PATH, READY, SUBSCRIBE_PATH, SUBSCRIBE_TOPIC_PATH,
};
pub(crate) use self::nchan::remove_files;
use crate::cli::{ServeTargetArgs, Target};
use crate::process;

/// Runs a target until the process is killed.
pub(crate) fn serve(args: &ServeTargetArgs) -> Result<()> {
    if args.die_with_parent {
        process::die_with_parent()?;
    }
    process::pin(&args.cores)?;
    prism_sse::raise_open_files();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let heartbeats = args.heartbeats;
    match args.target {
        Target::PrismServe => serve_prism(layer::router(args)?, address, args),
        Target::PrismLayer => serve_router(layer::router(args)?, address, args),
        Target::AxumIdiom => serve_router(axum_sse::router(heartbeats), address, args),
        Target::BarePublish => serve_router(bare_publish::router(heartbeats), address, args),
        Target::PrismHub => prism_hub::serve(address, args),
        Target::NeverReady => serve_router(never_ready::router(None), address, args),
        Target::OneLine => {
            let router = never_ready::router(Some("retry: 3000\n\n"));
            serve_router(router, address, args)
        }
        Target::Raw => {
            ensure!(args.workers.get() == 1, "the target `raw` has one thread");
            raw::serve(address, args.history)
        }
        #[cfg(prism_peers)]
        Target::ActixWebLab => actix_sse::serve(address, args),
        #[cfg(not(prism_peers))]
        Target::ActixWebLab => {
            anyhow::bail!(
                "set RUSTFLAGS=\"--cfg prism_peers\" and build again for the target `actix-web-lab`"
            )
        }
        Target::NginxNchan => nchan::serve(address, args),
        Target::External => anyhow::bail!("the target `external` is a server that runs already"),
    }
}

fn serve_router(router: Router, address: SocketAddr, args: &ServeTargetArgs) -> Result<()> {
    runtime(args)?.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        print_ready(listener.local_addr()?)?;
        // Setting the option fails only on a socket that is closed.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        // Without this, axum would clone the router, route by route, for each connection.
        let service = router.into_make_service();
        let serving = tokio::spawn(axum::serve(listener, service).into_future());
        Ok(serving.await??)
    })
}

fn serve_prism(router: Router, address: SocketAddr, args: &ServeTargetArgs) -> Result<()> {
    runtime(args)?.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        print_ready(listener.local_addr()?)?;
        let serving = prism_sse::serve(listener, router.into_make_service())
            .shards(args.workers.get())
            // Of a million subscribers on one machine some are slow to send their request.
            .header_timeout(Duration::from_secs(60));
        // Without heartbeats the kernel sends no keep-alive probes either, as in `raw`.
        let serving = if args.heartbeats { serving } else { serving.no_keep_alive() };
        Ok(tokio::spawn(serving.into_future()).await??)
    })
}

fn runtime(args: &ServeTargetArgs) -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.workers.get())
        .enable_all()
        .build()
        .context("the runtime does not start")
}
