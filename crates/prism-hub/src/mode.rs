//! The modes of the program: its first argument chooses one.

mod check;
mod failure;
mod hub_client;
mod listen;
mod log;
mod publish;
mod serve;
mod token;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

use crate::cli::{Cli, Mode};

use failure::Failure;

/// Runs the mode that the arguments of this process choose, to its end.
pub fn run() -> ExitCode {
    // On wrong usage and on `--help` this exits the process, with 2 and 0.
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    log::start(cli.log, cli.log_level);
    match run_mode(cli.mode, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let (message, code) = match failure {
                Failure::Failed(message) => (message, 1),
                Failure::Usage(message) => (message, 2),
            };
            eprintln!("prism-hub: {message}");
            ExitCode::from(code)
        }
    }
}

fn run_mode(mode: Mode, matches: &ArgMatches) -> Result<(), Failure> {
    match mode {
        Mode::Demo(args) => serve::demo(&args),
        Mode::Serve(_) => match matches.subcommand() {
            Some((_, matches)) => serve::serve(matches.clone()),
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
