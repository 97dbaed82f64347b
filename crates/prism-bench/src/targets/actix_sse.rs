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

use super::contract::{PUBLISH_PATH, SUBSCRIBE_PATH, print_ready};
use crate::cli::ServeTargetArgs;

/// Number of events that the channel keeps for the slowest subscriber.
const CAPACITY: usize = 1024;

const HEARTBEAT: Duration = Duration::from_secs(15);

/// Most connections of one worker, in place of actix's own limit, which is lower.
const CONNECTIONS: usize = 100_000;

#[derive(Clone)]
struct ActixState {
    events: Sender<String>,
    heartbeats: bool,
}

pub(super) fn serve(address: SocketAddr, args: &ServeTargetArgs) -> Result<()> {
    let state = ActixState { events: Sender::new(CAPACITY), heartbeats: args.heartbeats };
    let listener = TcpListener::bind(address)?;
    print_ready(listener.local_addr()?)?;
    let workers = args.workers.get();
    actix_web::rt::System::new().block_on(async move {
        let app = move || {
            App::new()
                .app_data(Data::new(state.clone()))
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

async fn subscribe(state: Data<ActixState>) -> impl Responder {
    let events = BroadcastStream::new(state.events.subscribe())
        .filter_map(Result::ok)
        .map(|text| Ok::<_, Infallible>(sse::Event::Data(sse::Data::new(text))));
    let stream = Sse::from_stream(events);
    match state.heartbeats {
        true => stream.with_keep_alive(HEARTBEAT),
        false => stream,
    }
}

async fn publish(state: Data<ActixState>, text: String) -> impl Responder {
    // Sending fails only if there are no subscribers.
    drop(state.events.send(text));
    HttpResponse::new(StatusCode::NO_CONTENT)
}
