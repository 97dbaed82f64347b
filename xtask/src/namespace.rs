//! Whether this system lets a test have a network of its own.
//!
//! A network namespace lives as long as the processes in it, so that nothing is left behind.

use std::process::Command;

/// Begins a command in a network namespace of its own; its user is root there.
const UNSHARE: &[&str] = &["unshare", "--net", "--map-root-user"];

/// Why a process cannot have a network namespace of its own and set up its interfaces.
pub(crate) fn check() -> Result<(), String> {
    check_with(&[UNSHARE, &["ip", "link", "set", "lo", "up"]].concat())
}

fn check_with(command: &[&str]) -> Result<(), String> {
    let name = command.join(" ");
    match Command::new(command[0]).args(&command[1..]).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            Err(format!("`{name}` failed: {}", error.trim()))
        }
        Err(error) => Err(format!("`{name}` did not start: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_namespaces_gives_its_reason() {
        assert_eq!(check_with(&["true"]), Ok(()));
        assert_eq!(
            check_with(&["sh", "-c", "echo not permitted >&2; exit 1"]),
            Err("`sh -c echo not permitted >&2; exit 1` failed: not permitted".to_owned())
        );
        let error = check_with(&["no-such-program-anywhere", "--net"]).unwrap_err();
        assert!(error.starts_with("`no-such-program-anywhere --net` did not start: "), "{error}");
    }
}
