//! Running other programs.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// The cargo that runs this program, in the workspace's root.
pub(crate) fn cargo(root: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root);
    command
}

/// Runs a command that shares this program's terminal.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let name = describe(command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{name}` failed: {status}")),
        Err(error) => Err(format!("`{name}` did not start: {error}")),
    }
}

/// What a command printed on standard output, if it succeeded and printed text.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok()
}

/// Whether a program of this name can be started.
pub(crate) fn in_path(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else {
        return false;
    };
    std::env::split_paths(&path)
        .map(|dir| dir.join(format!("{program}{}", std::env::consts::EXE_SUFFIX)))
        .any(|file| file.is_file())
}

/// The command as one would type it, with the program's name in place of its path.
pub(crate) fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_stem().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_failure_names_the_command_and_the_reason() {
        let mut absent = Command::new("no-such-program-anywhere");
        let error = run(absent.arg("--version")).unwrap_err();
        assert!(error.starts_with("`no-such-program-anywhere --version` did not start: "));

        let mut refused = cargo(Path::new("."));
        refused.args(["--quiet", "no-such-command"]).stderr(Stdio::null());
        let error = run(&mut refused).unwrap_err();
        assert!(error.starts_with("`cargo --quiet no-such-command` failed: "), "{error}");
    }

    #[test]
    fn a_program_is_found_by_its_name_only() {
        assert!(!in_path("no-such-program-anywhere"));
        // Somewhere in PATH is what runs this test.
        assert!(in_path("cargo"));
    }
}
