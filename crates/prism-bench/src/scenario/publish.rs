//! Publishing over HTTP as fast as answers come, while somebody reads.

use anyhow::Result;

use super::{LINGER, Stage};
use crate::cli::Load;
use crate::run::{Published, Run};

/// Messages of each publisher before the measurement begins.
const WARM_UP: u64 = 50;

pub(super) fn run(mut stage: Stage<'_>) -> Result<Run> {
    let load = &stage.bench.settings.load;
    let say = stage.say();
    let form = stage.form()?;
    let warm_up = WARM_UP * u64::from(load.publishers);
    let warm_up = Load { messages: Some(warm_up), ..load.clone() };
    stage.client.press(&form, &warm_up, |_, _| say("warming up"))?;
    let (memory, begin) = (stage.memory()?, stage.moment()?);
    let pressed = stage.client.press(&form, load, |messages, time| {
        say(&format!("{messages} messages, {time:.0?}"));
    })?;
    let end = stage.moment()?;
    let grown = memory.zip(stage.memory()?);
    stage.client.linger(LINGER)?;
    stage.run.resident_growth =
        grown.map(|(before, after)| crate::run::grown(before.resident, after.resident, 1));
    stage.run.noise = end.noise(&begin, pressed.time, stage.bench.processors);
    stage.run.published = Some(Published::new(&pressed, &begin, &end));
    stage.run.faults = stage.client.faults();
    Ok(stage.run)
}
