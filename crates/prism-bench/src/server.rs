//! The server under measurement, from its start to its end.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::cli::{Endpoint, Scenario, Settings, Target};
use crate::process;
use crate::server_api::ServerApi;
use crate::targets::{READY, remove_files};

/// Number of events that a server keeps beside those that are replayed.
const MORE_HISTORY: usize = 64;

/// A running server. Dropping it ends the process, if it was started here.
#[derive(Debug)]
pub(crate) struct Server {
    child: Option<Child>,
    /// Where subscribers connect to.
    pub(crate) subscribe: Endpoint,
    /// Where publishers connect to, if it takes events.
    pub(crate) publish: Option<Endpoint>,
    pub(crate) api: ServerApi,
    /// The id of its process, if known.
    pub(crate) pid: Option<u32>,
}

impl Server {
    /// Starts a fresh server on these processors, or takes the external one.
    pub(crate) fn start(
        target: Target,
        scenario: Scenario,
        settings: &Settings,
        cores: &[usize],
    ) -> Result<Self> {
        let api = ServerApi::new(target, scenario, settings)?;
        if target == Target::External {
            let external = &settings.external;
            return Ok(Self {
                child: None,
                subscribe: external.url.clone().context("the target `external` needs --url")?,
                publish: external.publish_url.clone(),
                api,
                pid: external.pid,
            });
        }
        let mut child = command(target, scenario, settings, cores)?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the server does not start")?;
        match address(&mut child) {
            Ok(address) => {
                let at = |path: &str| Endpoint::parse(&format!("{address}{path}"));
                Ok(Self {
                    pid: Some(child.id()),
                    subscribe: at(&api.subscribe)?,
                    publish: target.publishes().then(|| at(&api.publish)).transpose()?,
                    api,
                    child: Some(child),
                })
            }
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
    }
}

fn command(
    target: Target,
    scenario: Scenario,
    settings: &Settings,
    cores: &[usize],
) -> Result<Command> {
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let mut command = Command::new(program);
    command.args(["serve-target", &target.name(), "--die-with-parent"]);
    command.arg(format!("--workers={}", settings.placement.workers));
    command.args(process::cores_argument(cores));
    if settings.placement.heartbeats {
        command.arg("--heartbeats");
    }
    if settings.scenarios.private {
        command.arg("--private");
    }
    if let Some(hub) = &settings.placement.hub {
        command.arg("--hub").arg(hub);
    }
    let default_history = || {
        let replayed = settings.scenarios.replay as usize;
        (scenario == Scenario::Storm).then_some(replayed + MORE_HISTORY)
    };
    if let Some(history) = settings.placement.history.or_else(default_history) {
        command.arg(format!("--history={history}"));
    }
    Ok(command)
}

/// The address that the server prints when it is ready.
fn address(child: &mut Child) -> Result<String> {
    let out = child.stdout.take().context("the server has no output")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).context("the server prints nothing")?;
    let address = line.trim_end().strip_prefix(READY).map(str::to_owned);
    address.context("the server ended before it was ready")
}

fn end(child: &mut Child) {
    process::end(child);
    remove_files(child.id());
}
