//! Whether the system may have lost what it had not written yet.
//!
//! At [`Durability::Os`](prism_sse::Durability) no record is synced, so that neither the segments
//! nor `acked` say what a loss of power took. While a store is open at that durability there is a
//! file `running` that names the current start of the system. A store that finds it, and another
//! start, was not closed before the system was started again.

use std::io;

use crate::files::Files;

const NAME: &str = "running";

/// The longest name of a start.
const LEN_MAX: u64 = 256;

/// Whether the system was started again while a store was open at `os`. Where starts have no name,
/// that a process was killed counts as well.
pub(crate) fn is_system_new(files: &dyn Files) -> io::Result<bool> {
    let file = match files.open(NAME, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        result => result?,
    };
    let mut name = vec![0; file.len()?.min(LEN_MAX) as usize];
    file.read_at(&mut name, 0)?;
    Ok(files.boot().is_none_or(|boot| boot.as_bytes() != name))
}

/// Says, durably, that a store is open whose records are not synced.
pub(crate) fn begin(files: &dyn Files) -> io::Result<()> {
    let file = files.open(NAME, true)?;
    let boot = files.boot().unwrap_or_default();
    file.set_len(0)?;
    file.write_at(boot.as_bytes(), 0)?;
    file.sync()?;
    files.sync()
}

/// Says, durably, that everything is synced.
pub(crate) fn end(files: &dyn Files) -> io::Result<()> {
    match files.remove(NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.and_then(|()| files.sync()),
    }
}
