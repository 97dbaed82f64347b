//! The scenarios: what is done to a server, and what is measured meanwhile.

mod churn;
mod fanout;
mod million;
mod publish;
mod run_config;
mod setup;
mod storm;
mod support;

use anyhow::Result;

pub(crate) use self::run_config::RunConfig;
use self::setup::Setup;
use crate::cli::Scenario;
use crate::environment::Environment;
use crate::run::Run;

/// Starts a fresh server, and measures it in the environment's scenario.
pub(crate) fn run(environment: &Environment<'_>, config: &RunConfig) -> Result<Run> {
    match environment.scenario {
        Scenario::Million => million::run(environment, config),
        Scenario::Idle => Ok(Setup::open(environment, config)?.run),
        Scenario::Fanout | Scenario::Slow | Scenario::Topics => {
            fanout::run(Setup::open(environment, config)?)
        }
        Scenario::Publish => publish::run(Setup::open(environment, config)?),
        Scenario::Churn => churn::run(Setup::open(environment, config)?),
        Scenario::Storm => storm::run(Setup::open(environment, config)?),
    }
}
