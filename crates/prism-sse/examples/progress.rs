//! The progress of long jobs: each job is a topic, and a page that reconnects in the middle of a
//! job resumes exactly where it was.

mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use prism_sse::{Audience, Event, Manager, Retention, SseRequest, Start};
use serde_json::json;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
struct Jobs {
    sse: Manager,
    started: Arc<AtomicU32>,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let hour = Retention::default().age(Duration::from_secs(3600));
    let sse = Manager::builder().history(hour).build()?;
    let jobs = Jobs { sse: sse.clone(), started: Arc::default() };
    let app = Router::new()
        .route("/", get(Html(include_str!("progress.html"))))
        .route("/jobs", post(start))
        .route("/jobs/{job}/events", get(events))
        .with_state(jobs);
    Ok(server::run(app, sse).await?)
}

async fn start(State(jobs): State<Jobs>) -> impl IntoResponse {
    let job = jobs.started.fetch_add(1, Ordering::Relaxed) + 1;
    tokio::spawn(run(jobs.sse, job));
    (StatusCode::CREATED, Json(json!({"job": job.to_string()})))
}

async fn events(State(jobs): State<Jobs>, Path(job): Path<u32>, request: SseRequest) -> Response {
    if job == 0 || job > jobs.started.load(Ordering::Relaxed) {
        return (StatusCode::NOT_FOUND, "there is no such job\n").into_response();
    }
    match Audience::select(format!("jobs/{job}")) {
        // A page that connects for the first time receives the job's events from the beginning.
        Ok(job) => jobs.sse.respond(request.audience(job).start(Start::Oldest)).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

async fn run(sse: Manager, job: u32) -> Result<(), Error> {
    for percent in 0..=100 {
        let (name, step) = match percent {
            0..30 => ("progress", "reading"),
            30..80 => ("progress", "converting"),
            80..100 => ("progress", "writing"),
            _ => ("done", "done"),
        };
        let event = Event::json(&json!({"percent": percent, "step": step}))?.event(name)?;
        sse.publish(format!("jobs/{job}"), event)?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
