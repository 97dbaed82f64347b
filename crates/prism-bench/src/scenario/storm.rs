//! All connections are dropped, and all come back with the last id they had.
//!
//! A first event gives everybody an id, as a browser would have it. Then events are published that
//! all subscribers receive, so that they are known to exist. Then all leave, and come back with
//! the first id: the server has to replay everything after it, and then to go on.

use std::thread;

use anyhow::Result;

use super::{LINGER, Stage};
use crate::cli::Load;
use crate::run::{Replayed, Run};

/// Messages under way at once while those are published that are replayed later.
const IN_FLIGHT: u32 = 64;

pub(super) fn run(mut stage: Stage<'_>) -> Result<Run> {
    let settings = stage.bench.settings;
    let missed = settings.scenarios.replay;
    let say = stage.say();
    let form = stage.form()?;
    let messages = |count: u32| Load {
        messages: Some(u64::from(count)),
        rate: None,
        in_flight: IN_FLIGHT,
        publishers: 1,
        ..settings.load.clone()
    };
    stage.client.deliver(&form, &messages(1), |_, _| say("the first event"))?;
    stage.client.linger(LINGER)?;
    let id = stage.client.last_id()?;
    stage.client.deliver(&form, &messages(missed), |messages, _| {
        say(&format!("{messages} events to replay"));
    })?;
    let connections = stage.client.leave();
    // The server has had time to notice when all come back.
    thread::sleep(settings.noise.settle);

    let begin = stage.moment()?;
    let stall = settings.load.stall;
    let back = stage.client.come_back(connections, (&id, 1, missed), stall, |events| {
        say(&format!("{events} events replayed"));
    })?;
    let end = stage.moment()?;
    let form = stage.form()?;
    let live = stage.client.deliver(&form, &messages(1), |_, _| say("one more event"))?;
    stage.client.linger(LINGER)?;
    let live_ms = live.time.as_secs_f64() * 1e3;
    stage.run.noise = end.noise(&begin, back.time, stage.bench.processors);
    stage.run.storm = Some(Replayed::new(&back, live_ms, &begin, &end));
    stage.run.faults = stage.client.faults();
    Ok(stage.run)
}
