//! Connections are closed and reopened all the time, while the subscribers must not miss anything.

use anyhow::Result;

use super::setup::{DUPLICATE_WAIT, Setup};
use crate::cli::Load;
use crate::run::{ChurnFigures, DeliveryFigures, Run};

pub(super) fn run(mut setup: Setup<'_>) -> Result<Run> {
    let settings = setup.environment.settings;
    let load = Load { rate: Some(settings.churn_rate()), ..settings.load.clone() };
    let progress = setup.progress();
    let template = setup.connect_publishers()?;
    let begin = setup.resources()?;
    setup.client.begin_churn(settings.scenarios.churning as usize)?;
    let measured = setup.client.publish_paced(&template, &load, |messages, time| {
        progress(&format!("{messages} messages, {time:.0?}"));
    })?;
    let opened = setup.client.end_churn();
    let end = setup.resources()?;
    setup.client.read_for(DUPLICATE_WAIT)?;
    let seconds = measured.time.as_secs_f64().max(f64::MIN_POSITIVE);
    setup.run.churn = Some(ChurnFigures {
        opened,
        opened_per_second: opened as f64 / seconds,
        cpu_us: end.server_us_per(&begin, opened),
    });
    let noise = end.noise(&begin, measured.time, setup.environment.processors);
    setup.run.noise = setup.run.noise.or_worse(noise);
    // Processor time of deliveries cannot be told from that of connections.
    let delivery = DeliveryFigures::new(&measured, &begin, &end);
    setup.run.delivery =
        Some(DeliveryFigures { cpu_us: None, user_us: None, message_cpu_us: None, ..delivery });
    setup.run.faults = setup.client.faults();
    Ok(setup.run)
}
