//! `check`: validates a configuration file as `serve` does.

use super::failure::Failure;
use crate::auth::{Authority, Clock};
use crate::cli::CheckArgs;
use crate::config::Config;

/// Reads the file and the keys that it names. Key sets at URLs are not fetched.
pub(super) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let config = Config::from_file(&args.file).map_err(Failure::failed)?;
    Authority::new(&config, Clock::system())
        .map_err(|error| Failure::Failed(format!("{}: {error}", args.file.display())))?;
    println!("{}: ok", args.file.display());
    Ok(())
}
