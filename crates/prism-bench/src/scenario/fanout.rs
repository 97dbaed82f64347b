//! Publishing to subscribers: to all of them, beside some that never read, or by topic.

use anyhow::Result;

use super::setup::Setup;
use crate::check::Sequences;
use crate::cli::Load;
use crate::run::{DeliveryFigures, Run};

/// Least number of messages that are published before the measurement begins.
const WARM_UP: u32 = 5;

pub(super) fn run(mut setup: Setup<'_>) -> Result<Run> {
    let load = &setup.environment.settings.load;
    let progress = setup.progress();
    let template = setup.connect_publishers()?;
    let warm_up = warm_up(load, setup.sequences);
    setup.client.publish_paced(&template, &warm_up, |_, _| progress("warming up"))?;
    let start = setup.start()?;
    let measured = setup.client.publish_paced(&template, load, |messages, time| {
        progress(&format!("{messages} messages, {time:.0?}"));
    })?;
    let end = setup.finish(&start, measured.time)?;
    setup.run.delivery = Some(DeliveryFigures::new(&measured, &start.resources, &end));
    Ok(setup.run)
}

/// A few messages of the same load, at least one in every sequence, so that the server's buffers
/// have grown and its topics exist when the measurement begins.
fn warm_up(load: &Load, sequences: Sequences) -> Load {
    let messages = u64::from(load.in_flight.max(WARM_UP)).max(sequences.count() as u64);
    Load { messages: Some(messages), rate: None, ..load.clone() }
}
