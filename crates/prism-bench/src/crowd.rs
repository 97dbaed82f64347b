//! A process of subscribers, one of several: it does what it is told on its standard input.

use std::io::{BufRead, Write};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::check::{Faults, Lanes};
use crate::cli::{self, Endpoint, Load};
use crate::client::{Client, Plan};
use crate::process;
use crate::publish::Form;
use crate::sample;

/// Tells the process to open its connections.
pub(crate) const CONNECT: &str = "connect";

/// Tells the process to publish an event to its server, and to wait until everybody has it.
pub(crate) const BROADCAST: &str = "broadcast";

/// What the process says when it is ready, and when it has done something.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// When it began, in nanoseconds of a clock that all processes share.
    pub(crate) began: u64,
    /// When the last subscriber was served.
    pub(crate) ended: u64,
    pub(crate) deliveries: u64,
    /// All that was wrong so far.
    pub(crate) faults: Faults,
}

/// Does what it is told until its standard input ends.
pub(crate) fn run(asked: &cli::Crowd) -> Result<()> {
    process::die_with_parent()?;
    process::pin(&asked.cores)?;
    process::raise_open_files()?;
    let subscribe = Endpoint::parse(&asked.subscribe)?;
    let publish = Endpoint::parse(&asked.publish)?;
    let mut client = Client::new(&Plan {
        endpoint: &subscribe,
        headers: &[],
        tokens: false,
        subscribers: asked.connections,
        lanes: Lanes::Publishers(1),
        payload: asked.payload,
        place: asked.place,
    })?;
    let form = Form::new(&publish, &[], "{}", asked.payload)?;
    say(&Reply::default())?;
    for command in std::io::stdin().lock().lines() {
        let began = sample::shared_clock();
        let (took, deliveries) = match command?.as_str() {
            CONNECT => (client.connect(asked.connections, |_| ())?, 0),
            BROADCAST => {
                client.connect_publishers(&publish, 1)?;
                let delivered = client.deliver(&form, &one_message(asked), |_, _| ())?;
                (delivered.time, delivered.deliveries)
            }
            other => bail!("{other:?} is no command"),
        };
        let ended = began + u64::try_from(took.as_nanos())?;
        say(&Reply { began, ended, deliveries, faults: client.faults() })?;
    }
    Ok(())
}

fn one_message(asked: &cli::Crowd) -> Load {
    Load {
        in_flight: 1,
        rate: None,
        seconds: Duration::MAX,
        messages: Some(1),
        payload: asked.payload,
        publishers: 1,
        stall: asked.stall,
    }
}

fn say(reply: &Reply) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string(reply)?)?;
    Ok(out.flush()?)
}
