//! The project's own files, as text.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process;

/// One text file of the project.
#[derive(Debug)]
pub(crate) struct File {
    /// Where it is below the root, with `/` between the parts.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All text files: those that git tracks or would track. Files that are not UTF-8 are left out.
pub(crate) fn files(root: &Path) -> Result<Vec<File>, String> {
    let paths = match tracked(root) {
        Some(paths) => paths,
        // An unpacked archive of the source has no git, and must be tidy all the same.
        None => below(root, "")?,
    };
    let mut files = Vec::new();
    for path in paths {
        // A file that was deleted but is still in the index has nothing to be checked.
        let Ok(bytes) = fs::read(root.join(&path)) else { continue };
        let Ok(text) = String::from_utf8(bytes) else { continue };
        files.push(File { path, text });
    }
    Ok(files)
}

fn tracked(root: &Path) -> Option<Vec<String>> {
    let list = process::output(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
            .current_dir(root),
    )?;
    // A repository around the archive may ignore it whole, and then knows nothing of it.
    if list.is_empty() {
        return None;
    }
    let mut paths: Vec<String> = list.split_terminator('\0').map(str::to_owned).collect();
    // A file in a merge conflict is listed once for each side.
    paths.sort();
    paths.dedup();
    Some(paths)
}

/// Every file below a directory, except what builds leave behind.
fn below(root: &Path, dir: &str) -> Result<Vec<String>, String> {
    let unreadable = |error| format!("{} is not readable: {error}", root.join(dir).display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(root.join(dir)).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_file() {
            paths.push(path);
        } else if kind.is_dir() && name != ".git" && name != "target" {
            paths.extend(below(root, &path)?);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_and_without_git_the_sources_are_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let this = "xtask/src/tree.rs".to_owned();
        assert!(below(root, "").unwrap().contains(&this));
        assert!(tracked(root).is_none_or(|paths| paths.contains(&this)));
    }
}
