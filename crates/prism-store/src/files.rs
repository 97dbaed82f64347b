//! The file system as the store uses it, so that tests can cut it off at any point.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// A directory of files.
pub trait Files: fmt::Debug + Send + Sync + 'static {
    /// Opens a file to read and write; makes it if `create` is set and it does not exist.
    ///
    /// # Errors
    ///
    /// As of the system.
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn File>>;

    /// The names of all files.
    ///
    /// # Errors
    ///
    /// As of the system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Gives a file another name, in place of the file that has it.
    ///
    /// # Errors
    ///
    /// As of the system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Whoever has it open may read on.
    ///
    /// # Errors
    ///
    /// As of the system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Syncs which files there are, and their names.
    ///
    /// # Errors
    ///
    /// As of the system.
    fn sync(&self) -> io::Result<()>;

    /// A name of the time since the system was started, during which it loses nothing that was
    /// written. `None` if it is not known.
    fn boot(&self) -> Option<String>;
}

/// An open file.
#[allow(clippy::len_without_is_empty, reason = "nobody asks whether a file is empty")]
pub trait File: fmt::Debug + Send + Sync {
    /// Reads as many bytes as the buffer has, from an offset on.
    ///
    /// # Errors
    ///
    /// As of the system; [`io::ErrorKind::UnexpectedEof`] if there are fewer.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all bytes at an offset.
    ///
    /// # Errors
    ///
    /// As of the system. Some of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Syncs the bytes and the length.
    ///
    /// # Errors
    ///
    /// As of the system. What was not synced before may be lost, whatever reading returns.
    fn sync(&self) -> io::Result<()>;

    /// Sets the length.
    ///
    /// # Errors
    ///
    /// As of the system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The length.
    ///
    /// # Errors
    ///
    /// As of the system.
    fn len(&self) -> io::Result<u64>;
}

/// A directory of the system.
#[derive(Debug)]
pub(crate) struct Disk {
    path: Box<Path>,
    directory: fs::File,
}

impl Disk {
    /// Opens a directory, and makes it if it does not exist: for this user alone.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let is_new = !path.exists();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let directory = fs::File::open(path)?;
        if is_new {
            // Its name is in another directory, which a sync of its files does not cover.
            fs::File::open(path.join(".."))?.sync_all()?;
        }
        if !directory.metadata()?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no directory"));
        }
        Ok(Self { path: path.into(), directory })
    }

    /// Opens the file that whoever uses the directory locks.
    pub(crate) fn open_lock(&self) -> io::Result<fs::File> {
        let path = self.path.join("lock");
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        Ok(file)
    }
}

impl Files for Disk {
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(create).truncate(false).mode(0o600);
        Ok(Arc::new(DiskFile(file.open(self.path.join(name))?)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.path)?;
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        entries.map(name).collect()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn boot(&self) -> Option<String> {
        // Elsewhere than on Linux it is not known.
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().into())
    }
}

#[derive(Debug)]
struct DiskFile(fs::File);

impl File for DiskFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
