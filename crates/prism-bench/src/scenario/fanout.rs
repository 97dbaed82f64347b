//! Publishing to subscribers: to all of them, beside some that never read, or by topic.

use anyhow::Result;

use super::{LINGER, Stage};
use crate::check::Lanes;
use crate::cli::Load;
use crate::run::{Delivery, Run};

/// Fewest messages that are sent before the measurement begins.
const WARM_UP: u32 = 5;

pub(super) fn run(mut stage: Stage<'_>) -> Result<Run> {
    let load = &stage.bench.settings.load;
    let say = stage.say();
    let form = stage.form()?;
    stage.client.deliver(&form, &warm_up(load, stage.lanes), |_, _| say("warming up"))?;
    let (memory, begin) = (stage.memory()?, stage.moment()?);
    let delivered = stage.client.deliver(&form, load, |messages, time| {
        say(&format!("{messages} messages, {time:.0?}"));
    })?;
    let end = stage.moment()?;
    let grown = memory.zip(stage.memory()?);
    stage.client.linger(LINGER)?;
    stage.run.resident_growth =
        grown.map(|(before, after)| crate::run::grown(before.resident, after.resident, 1));
    stage.run.noise = end.noise(&begin, delivered.time, stage.bench.processors);
    stage.run.delivery = Some(Delivery::new(&delivered, &begin, &end));
    stage.run.faults = stage.client.faults();
    Ok(stage.run)
}

/// A few messages at the same pace, at least one in every order, so that buffers have their size
/// and topics are known when it counts.
fn warm_up(load: &Load, lanes: Lanes) -> Load {
    let messages = u64::from(load.in_flight.max(WARM_UP)).max(lanes.count() as u64);
    Load { messages: Some(messages), rate: None, ..load.clone() }
}
