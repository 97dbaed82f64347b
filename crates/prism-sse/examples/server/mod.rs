//! Serves an example with `prism_sse::serve` or `axum::serve`, which take the same arguments.

use std::future::Future;
use std::io;

use axum::Router;
use prism_sse::Manager;
use tokio::net::TcpListener;

/// Listens at the address that `PRISM_LISTEN` names, until Ctrl-C.
pub(crate) async fn run(app: Router, sse: Manager) -> io::Result<()> {
    let address = std::env::var("PRISM_LISTEN").unwrap_or("127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    println!("server: {}", named());
    let ctrl_c = async { drop(tokio::signal::ctrl_c().await) };
    serve(listener, app, sse, ctrl_c).await
}

/// The server that `PRISM_SERVER` names, `prism` or `axum`. By default it is `prism_sse::serve` if
/// the feature `serve` is on.
pub(crate) fn named() -> String {
    let default = if cfg!(feature = "serve") { "prism" } else { "axum" };
    std::env::var("PRISM_SERVER").unwrap_or(default.to_owned())
}

/// Serves with the named server until `signal`.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    sse: Manager,
    signal: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let server = named();
    match server.as_str() {
        // It closes its streams itself, spread over a time: here, one second.
        #[cfg(feature = "serve")]
        "prism" => {
            let server = prism_sse::serve(listener, app).drain(std::time::Duration::from_secs(1));
            println!("{}", server.capacity());
            server.with_graceful_shutdown(signal).await
        }
        // It waits for its streams, which do not end by themselves. `graceful` closes them.
        "axum" => axum::serve(listener, app).with_graceful_shutdown(sse.graceful(signal)).await,
        _ => Err(io::Error::other(format!("PRISM_SERVER: there is no server `{server}` here"))),
    }
}
