//! A process of subscribers, one of several: it reads commands from its standard input.

use std::io::{BufRead, Write};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::check::{Faults, Sequences};
use crate::cli::{Endpoint, Load, SubscriberProcessArgs};
use crate::client::{Client, ClientConfig};
use crate::process;
use crate::procfs;
use crate::publish::PublishTemplate;

/// The command to open all connections.
pub(crate) const CONNECT: &str = "connect";

/// The command to publish an event to the server, and to wait until all subscribers have it.
pub(crate) const BROADCAST: &str = "broadcast";

/// What the process prints when it is ready, and after each command.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// When the command began, in nanoseconds of a clock that all processes share.
    pub(crate) begin: u64,
    /// When the last connection opened, or the last event was measured.
    pub(crate) end: u64,
    pub(crate) deliveries: u64,
    /// All faults so far.
    pub(crate) faults: Faults,
}

/// Executes commands until the standard input ends.
pub(crate) fn run(args: &SubscriberProcessArgs) -> Result<()> {
    process::die_with_parent()?;
    process::pin(&args.cores)?;
    prism_sse::raise_open_files();
    let subscribe = Endpoint::parse(&args.subscribe)?;
    let publish = Endpoint::parse(&args.publish)?;
    let mut client = Client::new(&ClientConfig {
        endpoint: &subscribe,
        headers: &[],
        subscriber_tokens: false,
        subscribers: args.connections,
        sequences: Sequences::PerPublisher(1),
        payload: args.payload,
        process: args.process,
    })?;
    let template = PublishTemplate::new(&publish, &[], "{}", args.payload)?;
    print(&Reply::default())?;
    for command in std::io::stdin().lock().lines() {
        let begin = procfs::shared_clock();
        let (took, deliveries) = match command?.as_str() {
            CONNECT => (client.connect(args.connections, |_| ())?, 0),
            BROADCAST => {
                client.connect_publishers(&publish, 1)?;
                let measured = client.publish_paced(&template, &one_message(args), |_, _| ())?;
                (measured.time, measured.deliveries)
            }
            other => bail!("the command {other:?} is not known"),
        };
        let end = begin + u64::try_from(took.as_nanos())?;
        print(&Reply { begin, end, deliveries, faults: client.faults() })?;
    }
    Ok(())
}

fn one_message(args: &SubscriberProcessArgs) -> Load {
    Load {
        in_flight: 1,
        rate: None,
        seconds: Duration::MAX,
        messages: Some(1),
        payload: args.payload,
        publishers: 1,
        stall: args.stall,
    }
}

fn print(reply: &Reply) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string(reply)?)?;
    Ok(out.flush()?)
}
