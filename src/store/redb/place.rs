//! Where a file lies: made under another name first, kept from other people's eyes, and watched for while it is open.
//!
//! In: paths. Out: new files under their final names, whole; whether an open file still lies where it was opened.
//! Laws: a file appears under its name only when its content is on the disk, and never takes the place of another that
//! came first; what is made here can be read by its owner alone; a file that could not be finished is taken away again.

use crate::base::entropy;
use crate::store::StoreError;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The bits of a mode that let others in.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// A file that has its final name only once it is whole. Dropped before that, it is removed.
pub(super) struct Unfinished {
    temporary: PathBuf,
    path: PathBuf,
}

impl Unfinished {
    /// An empty file, open for reading and writing, that is to lie at `path`.
    pub(super) fn begin(path: &Path) -> io::Result<(Self, File)> {
        // No two processes choose the same name, also where several machines share the directory.
        let by_chance = entropy();
        let this = Self { temporary: beside(path, &format!(".new-{by_chance:032x}")), path: path.to_owned() };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&this.temporary)?;
        Ok((this, file))
    }

    /// Gives the file its name, unless another file has it already. The content must be synced.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`]: another one came first, and this one is removed.
    pub(super) fn finish(self) -> io::Result<()> {
        if let Err(e) = fs::hard_link(&self.temporary, &self.path) {
            if e.kind() == io::ErrorKind::AlreadyExists || fs::symlink_metadata(&self.path).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            // A file system without hard links.
            fs::rename(&self.temporary, &self.path)?;
        }
        sync_directory(&self.path)
    }

    /// Gives the file its name in place of an empty file that has it now.
    pub(super) fn replace(self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.path)?;
        sync_directory(&self.path)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Where the file was renamed there is nothing left to remove.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// The path of a file beside another: the same name with something behind it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes the name of a file as durable as its content.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        // Elsewhere a directory cannot be opened to be synced.
        return Ok(());
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Takes away what others may do with a file. True: they could do something.
#[cfg(unix)]
pub(super) fn tighten(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata()?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(false);
    }
    file.set_permissions(fs::Permissions::from_mode(mode & 0o7777 & !OTHERS))?;
    Ok(true)
}

#[cfg(not(unix))]
pub(super) fn tighten(_: &File) -> io::Result<bool> {
    Ok(false)
}

/// The path at which a file was opened, and which file that was.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    identity: Identity,
}

/// Tells a file from all others on this machine.
type Identity = (u64, u64);

impl Place {
    pub(super) fn of(path: &Path, file: &File) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(&file.metadata()?) })
    }

    /// Whether the open file still lies at its path: one question to the system, and no wait for a disk.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match fs::metadata(&self.path) {
            Ok(found) if identity(&found) != self.identity => Err(StoreError::Gone { path: self.path.clone() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(StoreError::Gone { path: self.path.clone() }),
            // Where the system cannot tell, the write itself will.
            _ => Ok(()),
        }
    }
}

#[cfg(unix)]
fn identity(meta: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (meta.dev(), meta.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    (0, 0)
}

/// What an error of the system means: that the path is wrong, or that the system failed.
pub(super) fn io_error(doing: &'static str, path: &Path, why: &io::Error) -> StoreError {
    use io::ErrorKind as Kind;
    let reason: Box<str> = match why.kind() {
        Kind::NotFound => "its directory does not exist".into(),
        Kind::IsADirectory => "it is a directory".into(),
        Kind::NotADirectory | Kind::PermissionDenied | Kind::ReadOnlyFilesystem | Kind::InvalidFilename => {
            why.to_string().into()
        }
        _ => return StoreError::Io { doing, why: format!("{}: {why}", path.display()).into() },
    };
    StoreError::Misplaced { path: path.into(), why: reason }
}
