//! What the program does, by its first argument.

mod check;
mod listen;
mod log;
mod publish;
mod remote;
mod serving;
mod token;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

use crate::cli::{Cli, Mode};

/// Why a mode failed: what to print, and how to exit.
#[derive(Debug)]
enum Failure {
    /// It was refused or failed.
    Failed(String),
    /// The arguments are wrong.
    Usage(String),
}

/// Does what the arguments of this process say.
pub fn run() -> ExitCode {
    // Errors of usage and requests for help end the process here, with 2 and 0.
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    log::start(cli.log, cli.log_level);
    match perform(cli.mode, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let (what, code) = match failure {
                Failure::Failed(what) => (what, 1),
                Failure::Usage(what) => (what, 2),
            };
            eprintln!("prism-hub: {what}");
            ExitCode::from(code)
        }
    }
}

fn perform(mode: Mode, matches: &ArgMatches) -> Result<(), Failure> {
    match mode {
        Mode::Demo(args) => serving::demo(&args),
        Mode::Serve(_) => match matches.subcommand() {
            Some((_, matches)) => serving::serve(matches.clone()),
            None => Err(Failure::Usage("a mode is missing".to_owned())),
        },
        Mode::Publish(args) => publish::publish(args),
        Mode::Listen(args) => listen::listen(args),
        Mode::Token(args) => token::token(&args),
        Mode::Check(args) => check::check(&args),
        Mode::Completions(args) => {
            let mut command = Cli::command();
            clap_complete::generate(args.shell, &mut command, "prism-hub", &mut std::io::stdout());
            Ok(())
        }
    }
}

impl Failure {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }
}
