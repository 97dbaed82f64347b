//! Publishing over HTTP in a closed loop: each publisher sends its next event as soon as the last
//! one was acknowledged.

use anyhow::Result;

use super::setup::Setup;
use crate::cli::Load;
use crate::run::{PublishFigures, Run};

/// Messages of each publisher before the measurement begins.
const WARM_UP: u64 = 50;

pub(super) fn run(mut setup: Setup<'_>) -> Result<Run> {
    let load = &setup.environment.settings.load;
    let progress = setup.progress();
    let template = setup.connect_publishers()?;
    let warm_up = WARM_UP * u64::from(load.publishers);
    let warm_up = Load { messages: Some(warm_up), ..load.clone() };
    setup.client.publish_closed_loop(&template, &warm_up, |_, _| progress("warming up"))?;
    let start = setup.start()?;
    let measured = setup.client.publish_closed_loop(&template, load, |messages, time| {
        progress(&format!("{messages} messages, {time:.0?}"));
    })?;
    let end = setup.finish(&start, measured.time)?;
    setup.run.published = Some(PublishFigures::new(&measured, &start.resources, &end));
    Ok(setup.run)
}
