//! Which server supports which scenario, and how many connections fit.

use anyhow::{Result, ensure};

use super::run_config::RunConfig;
use crate::cli::{Endpoint, Scenario, Target};
use crate::environment::Environment;
use crate::template::Template;

/// Open files that a process, be it a server, may need beside its subscribers' connections.
pub(super) const OTHER_FILES: u64 = 128;

/// Refuses what cannot be measured before anything is started.
pub(super) fn check(environment: &Environment<'_>, config: &RunConfig) -> Result<()> {
    let Environment { settings, scenario, open_files, .. } = environment;
    let name = config.target.name();
    ensure!(config.readers > 0, "without connections that read there is nothing to measure");
    let others = u64::from(settings.load.publishers)
        + if *scenario == Scenario::Churn { settings.scenarios.churning.into() } else { 0 };
    let most = open_files.saturating_sub(OTHER_FILES + others);
    ensure!(
        config.connections() as u64 <= most,
        "{} connections do not fit: a process may have {open_files} open files here, which is \
         enough for {most} connections; `million` spreads more over several processes",
        config.connections()
    );
    check_target(config.target, *scenario)?;
    ensure!(
        config.target != Target::External
            || *scenario == Scenario::Idle
            || settings.external.publish_url.is_some(),
        "the target `external` needs --publish-url"
    );
    ensure!(
        *scenario != Scenario::Storm || settings.load.publishers == 1,
        "`storm` replays events of one publisher only"
    );
    if let Some(topics) = config.topics {
        let publishers = usize::from(settings.load.publishers);
        ensure!(publishers <= topics, "there are more publishers than topics");
        let external = &settings.external;
        let has_topic = |url: &Option<Endpoint>| url.as_ref().is_some_and(Endpoint::has_topic);
        let publishes_to_topics =
            has_topic(&external.publish_url) || Template::parse(&external.publish_body).has_topic();
        ensure!(
            config.target != Target::External || has_topic(&external.url) && publishes_to_topics,
            "--url, and --publish-url or --publish-body, of {name} need a place for a topic: \
             {{topic}}"
        );
    }
    Ok(())
}

/// Refuses servers that do not support a scenario.
pub(super) fn check_target(target: Target, scenario: Scenario) -> Result<()> {
    let (is_supported, reason) = match scenario {
        Scenario::Idle => (true, ""),
        Scenario::Topics => (target.has_topics(), "it has no topics"),
        Scenario::Storm => (target.resumes(), "streams do not resume there"),
        Scenario::Million => {
            let takes_text = target.publishes() && !target.takes_forms();
            let is_supported = takes_text && target != Target::External;
            (is_supported, "it starts several servers, and publishes plain text without a token")
        }
        Scenario::Publish => {
            let takes_forms = target.takes_forms() || target == Target::External;
            (takes_forms, "it takes no forms and verifies no tokens")
        }
        Scenario::Fanout | Scenario::Churn | Scenario::Slow => {
            (target.publishes(), "nothing can be published to it")
        }
    };
    ensure!(is_supported, "{} is not for {}: {reason}", scenario.name(), target.name());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_without_what_a_scenario_needs_is_refused() {
        assert!(check_target(Target::NeverReady, Scenario::Idle).is_ok());
        for (target, scenario) in [
            (Target::NeverReady, Scenario::Fanout),
            (Target::AxumIdiom, Scenario::Storm),
            (Target::Raw, Scenario::Topics),
            (Target::External, Scenario::Million),
            (Target::PrismHub, Scenario::Million),
            (Target::AxumIdiom, Scenario::Publish),
        ] {
            assert!(check_target(target, scenario).is_err(), "{target:?} {scenario:?}");
        }
    }
}
