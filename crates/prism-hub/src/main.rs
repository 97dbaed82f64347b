//! The program `prism-hub`. Its code is in the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    prism_hub::run()
}
