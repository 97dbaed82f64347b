//! Connections come and go, while subscribers that stay must not miss anything.

use anyhow::Result;

use super::{LINGER, Stage, churn_rate};
use crate::cli::Load;
use crate::run::{Churned, Delivery, Run};

pub(super) fn run(mut stage: Stage<'_>) -> Result<Run> {
    let settings = stage.bench.settings;
    let load = Load { rate: Some(churn_rate(settings)), ..settings.load.clone() };
    let say = stage.say();
    let form = stage.form()?;
    let begin = stage.moment()?;
    stage.client.begin_churn(settings.scenarios.churning as usize)?;
    let delivered = stage.client.deliver(&form, &load, |messages, time| {
        say(&format!("{messages} messages, {time:.0?}"));
    })?;
    let opened = stage.client.end_churn();
    let end = stage.moment()?;
    stage.client.linger(LINGER)?;
    let seconds = delivered.time.as_secs_f64().max(f64::MIN_POSITIVE);
    stage.run.churn = Some(Churned {
        opened,
        opened_per_second: opened as f64 / seconds,
        cpu_us: end.server_us_each(&begin, opened),
    });
    stage.run.noise =
        stage.run.noise.or_worse(end.noise(&begin, delivered.time, stage.bench.processors));
    // The time that deliveries took cannot be told from the time that connections took.
    let delivery = Delivery::new(&delivered, &begin, &end);
    stage.run.delivery =
        Some(Delivery { cpu_us: None, user_us: None, message_cpu_us: None, ..delivery });
    stage.run.faults = stage.client.faults();
    Ok(stage.run)
}
