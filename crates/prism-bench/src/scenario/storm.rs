//! All connections are closed, and all subscribers reconnect at once with the last id they had.
//!
//! A first event gives each subscriber an id. Then events are published that all subscribers
//! receive, so that the server is known to have them. Then all subscribers disconnect, and
//! reconnect with the id of the first event: the server has to replay all events after it, and then
//! to go on with live ones.

use std::thread;

use anyhow::Result;

use super::setup::{DUPLICATE_WAIT, Setup};
use crate::cli::Load;
use crate::run::{ReplayFigures, Run};

/// Messages in flight while the events are published that are replayed later.
const IN_FLIGHT: u32 = 64;

pub(super) fn run(mut setup: Setup<'_>) -> Result<Run> {
    let settings = setup.environment.settings;
    let missed = settings.scenarios.replay;
    let progress = setup.progress();
    let template = setup.connect_publishers()?;
    let messages = |count: u32| Load {
        messages: Some(u64::from(count)),
        rate: None,
        in_flight: IN_FLIGHT,
        publishers: 1,
        ..settings.load.clone()
    };
    setup.client.publish_paced(&template, &messages(1), |_, _| progress("the first event"))?;
    setup.client.read_for(DUPLICATE_WAIT)?;
    let id = setup.client.last_event_id()?;
    setup.client.publish_paced(&template, &messages(missed), |messages, _| {
        progress(&format!("{messages} events to replay"));
    })?;
    let connections = setup.client.disconnect_all();
    // Gives the server time to notice that all connections are gone.
    thread::sleep(settings.noise.settle);

    let begin = setup.resources()?;
    let stall = settings.load.stall;
    let measured = setup.client.reconnect_all(connections, (&id, 1, missed), stall, |events| {
        progress(&format!("{events} events replayed"));
    })?;
    let end = setup.resources()?;
    let template = setup.connect_publishers()?;
    let live =
        setup.client.publish_paced(&template, &messages(1), |_, _| progress("one more event"))?;
    setup.client.read_for(DUPLICATE_WAIT)?;
    let live_ms = live.time.as_secs_f64() * 1e3;
    setup.run.noise = end.noise(&begin, measured.time, setup.environment.processors);
    setup.run.storm = Some(ReplayFigures::new(&measured, live_ms, &begin, &end));
    setup.run.faults = setup.client.faults();
    Ok(setup.run)
}
