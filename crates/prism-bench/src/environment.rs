//! What all runs of one invocation have in common: the settings, and the processors that servers
//! and subscribers run on.

use anyhow::{Context, Result};

use crate::cli::{Scenario, Settings};
use crate::process;
use crate::progress::Progress;

/// The environment of all runs.
#[derive(Debug)]
pub(crate) struct Environment<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) scenario: Scenario,
    pub(crate) progress: &'a Progress,
    /// Processors of the servers; empty means any.
    pub(crate) server_cores: Vec<usize>,
    /// Processors of the subscribers; empty means any.
    pub(crate) client_cores: Vec<usize>,
    /// Number of processors.
    pub(crate) processors: usize,
    /// Number of files that a process may have open.
    pub(crate) open_files: u64,
}

impl<'a> Environment<'a> {
    /// Raises this process's limit on open files, and pins it to its processor unless the settings
    /// say otherwise.
    pub(crate) fn new(
        scenario: Scenario,
        settings: &'a Settings,
        progress: &'a Progress,
    ) -> Result<Self> {
        let open_files =
            prism_sse::raise_open_files().context("the limit on open files is unknown")?;
        // Read before this process is pinned to one of them.
        let cores = process::cores()?;
        let placement = &settings.placement;
        let mut server_cores = placement.server_cores.clone();
        let mut client_cores = Vec::new();
        if let ([first, second, ..], false) = (cores.as_slice(), placement.no_pin) {
            if server_cores.is_empty() {
                server_cores.push(*first);
            }
            client_cores.push(placement.client_core.unwrap_or(*second));
            process::pin(&client_cores)?;
        }
        let processors = cores.len().max(1);
        Ok(Self {
            settings,
            scenario,
            progress,
            server_cores,
            client_cores,
            processors,
            open_files,
        })
    }
}
