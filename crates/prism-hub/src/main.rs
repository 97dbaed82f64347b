//! The program `prism-hub`; see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    prism_hub::run()
}
