//! actix-web-lab's `Sse` on a broadcast channel of tokio.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer, Responder};
use actix_web_lab::sse::{self, Sse};
use anyhow::Result;
use tokio::sync::broadcast::Sender;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

use super::{PUBLISH_PATH, SUBSCRIBE_PATH, say_ready};
use crate::cli::ServeTarget;

/// Events that wait for the slowest reader.
const CAPACITY: usize = 1024;

const HEARTBEAT: Duration = Duration::from_secs(15);

/// Connections of one worker. actix has a limit of its own, which would be met first.
const CONNECTIONS: usize = 100_000;

#[derive(Clone)]
struct Hub {
    events: Sender<String>,
    heartbeats: bool,
}

pub(super) fn serve(address: SocketAddr, asked: &ServeTarget) -> Result<()> {
    let hub = Hub { events: Sender::new(CAPACITY), heartbeats: asked.heartbeats };
    let listener = TcpListener::bind(address)?;
    say_ready(listener.local_addr()?)?;
    let workers = asked.workers.get();
    actix_web::rt::System::new().block_on(async move {
        let app = move || {
            App::new()
                .app_data(Data::new(hub.clone()))
                .route(SUBSCRIBE_PATH, web::get().to(subscribe))
                .route(PUBLISH_PATH, web::post().to(publish))
        };
        let server = HttpServer::new(app)
            .workers(workers)
            .max_connections(CONNECTIONS)
            .max_connection_rate(CONNECTIONS)
            .tcp_nodelay(true)
            .disable_signals()
            .listen(listener)?;
        Ok(server.run().await?)
    })
}

async fn subscribe(hub: Data<Hub>) -> impl Responder {
    let events = BroadcastStream::new(hub.events.subscribe())
        .filter_map(Result::ok)
        .map(|text| Ok::<_, Infallible>(sse::Event::Data(sse::Data::new(text))));
    let stream = Sse::from_stream(events);
    match hub.heartbeats {
        true => stream.with_keep_alive(HEARTBEAT),
        false => stream,
    }
}

async fn publish(hub: Data<Hub>, text: String) -> impl Responder {
    // An event without readers is nobody's loss.
    drop(hub.events.send(text));
    HttpResponse::new(StatusCode::NO_CONTENT)
}
