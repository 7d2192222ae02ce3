//! Opens a file, or makes it.
//!
//! In: a path, or a backend that stands for a file. Out: an [`Opened`] store, or why the file is none of ours.
//! Laws: an old file is looked at before anything is written to it; a file that is foreign, newer or damaged is left as
//! it is; a new file has its name only once it is a store, and is its owner's alone; a file that others could read is
//! closed to them.

use super::logs::Logs;
use super::place::{Place, Unfinished, io_error, tighten};
use super::sessions::Sessions;
use super::tables::{BLOCKS, CURSORS, HEADS, META, begin, refused};
use crate::store::{Opened, StoreError};
use ::redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase, StorageBackend, StorageError, TableError,
    TableHandle,
};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The newest format known here.
pub const FORMAT: u32 = 1;

/// Memory for pages of the file, in bytes.
const CACHE: usize = 16 << 20;

/// What every file of redb begins with.
const MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";

/// Opens a file, or makes it where there is none.
///
/// # Errors
/// [`StoreError::Locked`], [`StoreError::Foreign`], [`StoreError::Newer`], [`StoreError::Torn`],
/// [`StoreError::Misplaced`] or [`StoreError::Io`], each naming the path.
pub fn open(path: &Path) -> Result<Opened, StoreError> {
    open_noting(path, &mut Vec::new())
}

/// The same. `notes` takes what is worth a log line.
fn open_noting(path: &Path, notes: &mut Vec<String>) -> Result<Opened, StoreError> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(io_error("opening the file", path, &io::ErrorKind::IsADirectory.into())),
        Ok(meta) if !meta.is_file() => {
            Err(StoreError::Misplaced { path: path.into(), why: "it is not a regular file".into() })
        }
        Ok(meta) if meta.len() == 0 => make(path, true, notes),
        Ok(_) => open_old(path, notes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => make(path, false, notes),
        Err(e) => Err(io_error("looking at the file", path, &e)),
    }
}

/// Why a file cannot be the store that was meant, where a person must do something about it. Nothing is changed, and
/// nothing that is made stays.
pub fn obstacle(path: &Path) -> Option<StoreError> {
    let found = super::key::check(path).and_then(|()| match std::fs::metadata(path) {
        Ok(meta) if !meta.is_file() => open(path).map(drop),
        Ok(meta) if meta.len() > 0 => {
            look(path)?;
            let opened = File::options().read(true).write(true).open(path);
            opened.map(drop).map_err(|e| io_error("opening the file", path, &e))
        }
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("looking at the file", path, &e)),
        // A file is made under another name first, and is removed where it does not get its own.
        _ => Unfinished::begin(path).map(drop).map_err(|e| io_error("making the file", path, &e)),
    });
    found.err().filter(StoreError::is_misconfigured)
}

/// Opens one file as often as it must be opened again. A file that was deleted meanwhile is written again from the one
/// that was open, so that nothing is lost.
#[derive(Debug)]
pub struct Openings {
    path: PathBuf,
    /// The file that was opened last, open for reading. It has no lock.
    last: Option<File>,
    /// What is worth a log line.
    notes: Vec<String>,
}

impl Openings {
    /// Of the file at this path.
    pub fn new(path: PathBuf) -> Self {
        Self { path, last: None, notes: Vec::new() }
    }

    /// Opens the file.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(&mut self) -> Result<Opened, StoreError> {
        let path = &self.path;
        if let Some(last) = &mut self.last
            && std::fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
        {
            restore(last, path).map_err(|e| io_error("writing the deleted file again", path, &e))?;
            let name = path.display();
            self.notes.push(format!("{name} was deleted while it was open; it was written again with all it had"));
        }
        let opened = open_noting(path, &mut self.notes)?;
        self.last = File::open(path).ok();
        Ok(opened)
    }

    /// Hands over what the openings so far have found worth a log line.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}

/// Writes a deleted file again. Nothing is lost where another process has made a new one meanwhile: that one stays.
fn restore(deleted: &mut File, path: &Path) -> io::Result<()> {
    let (unfinished, mut file) = Unfinished::begin(path)?;
    deleted.seek(SeekFrom::Start(0))?;
    io::copy(deleted, &mut file)?;
    file.sync_all()?;
    match unfinished.finish() {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

/// Makes a new file, in place of an empty one or of none. It has its name only once it is a store, so that a full disk
/// leaves nothing behind.
fn make(path: &Path, is_there: bool, notes: &mut Vec<String>) -> Result<Opened, StoreError> {
    let failed = |e: io::Error| io_error("making the file", path, &e);
    let (unfinished, file) = Unfinished::begin(path).map_err(failed)?;
    let place = Place::of(path, &file).map_err(failed)?;
    let opened = finish(path, builder().create_file(file).map_err(|e| open_error(path, e))?, Some(place))?;
    let named = if is_there { unfinished.replace() } else { unfinished.finish() };
    match named {
        Ok(()) => Ok(opened),
        // Another process was faster.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => open_old(path, notes),
        Err(e) => Err(failed(e)),
    }
}

fn open_old(path: &Path, notes: &mut Vec<String>) -> Result<Opened, StoreError> {
    look(path)?;
    let failed = |e: io::Error| io_error("opening the file", path, &e);
    let file = File::options().read(true).write(true).open(path).map_err(failed)?;
    let place = Place::of(path, &file).map_err(failed)?;
    match tighten(&file) {
        Ok(false) => {}
        Ok(true) => notes.push(format!("{} could be read by others and now cannot", path.display())),
        Err(e) => notes.push(format!("{} can be read by others, and that cannot be changed: {e}", path.display())),
    }
    finish(path, builder().create_file(file).map_err(|e| open_error(path, e))?, Some(place))
}

/// Opens a backend instead of a file, for tests of power loss.
///
/// # Errors
/// As [`open`].
#[doc(hidden)]
pub fn open_backend(backend: impl StorageBackend) -> Result<Opened, StoreError> {
    let path = Path::new("(memory)");
    let database = builder().create_with_backend(backend).map_err(|e| open_error(path, e))?;
    finish(path, database, None)
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

/// Looks at a file without changing it.
fn look(path: &Path) -> Result<(), StoreError> {
    let mut start = [0; MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    match read {
        Ok(()) if start == *MAGIC => {}
        Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(io_error("reading the file", path, &e)),
        _ => return Err(StoreError::Foreign { path: path.into() }),
    }
    match ReadOnlyDatabase::open(path) {
        Ok(database) => {
            let read = database.begin_read().map_err(|e| torn(path, &e))?;
            let names: Vec<String> = match read.list_tables() {
                Ok(tables) => tables.map(|table| table.name().to_owned()).collect(),
                Err(e) => return Err(torn(path, &e)),
            };
            match read.open_table(META) {
                Ok(table) => {
                    let format = table.get("format").map_err(|e| torn(path, &e))?.map(|value| value.value());
                    check_format(path, format)
                }
                Err(TableError::TableDoesNotExist(_)) if names.is_empty() => Ok(()),
                Err(TableError::Storage(e)) => Err(torn(path, &e)),
                Err(_) => Err(StoreError::Foreign { path: path.into() }),
            }
        }
        // It was not closed. Opening it for writing repairs that.
        Err(DatabaseError::RepairAborted) => Ok(()),
        Err(e) => Err(open_error(path, e)),
    }
}

fn check_format(path: &Path, format: Option<u64>) -> Result<(), StoreError> {
    match format {
        Some(format) if format <= u64::from(FORMAT) && format > 0 => Ok(()),
        Some(format) if format > 0 => {
            let found = u32::try_from(format).unwrap_or(u32::MAX);
            Err(StoreError::Newer { path: path.into(), found, known: FORMAT })
        }
        _ => Err(StoreError::Torn { path: path.into(), why: "it does not tell its format".into() }),
    }
}

/// Writes the format into a new file, or checks that of an old one.
fn finish(path: &Path, database: Database, place: Option<Place>) -> Result<Opened, StoreError> {
    let write = begin(&database)?;
    let is_new = write.list_tables().map_err(|e| torn(path, &e))?.next().is_none();
    {
        let mut meta = match write.open_table(META) {
            Ok(meta) => meta,
            Err(TableError::Storage(e)) => return Err(torn(path, &e)),
            Err(_) => return Err(StoreError::Foreign { path: path.into() }),
        };
        if is_new {
            meta.insert("format", u64::from(FORMAT)).map_err(|e| refused("writing the format", e))?;
        } else {
            use ::redb::ReadableTable;
            let format = meta.get("format").map_err(|e| torn(path, &e))?.map(|value| value.value());
            if format.is_none() {
                return Err(StoreError::Foreign { path: path.into() });
            }
            check_format(path, format)?;
        }
        let tables = [
            write.open_table(CURSORS).map(drop),
            write.open_table(HEADS).map(drop),
            write.open_table(BLOCKS).map(drop),
        ];
        for table in tables {
            table.map_err(|e| torn(path, &e))?;
        }
    }
    if is_new {
        write.commit().map_err(|e| refused("committing", e))?;
    } else {
        write.abort().map_err(|e| refused("looking at the tables", e))?;
    }
    let (shared, place) = (Arc::new(database), place.map(Arc::new));
    let sessions = || Box::new(Sessions::new(Arc::clone(&shared), place.clone()));
    let logs = || Box::new(Logs::new(Arc::clone(&shared)));
    Ok(Opened {
        sessions: sessions(),
        lookup: sessions(),
        logs: Some(logs()),
        log_lookup: Some(logs()),
        follower: None,
    })
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { path: path.into() },
        DatabaseError::UpgradeRequired(_) => StoreError::Foreign { path: path.into() },
        DatabaseError::Storage(StorageError::Io(e)) if e.kind() != io::ErrorKind::UnexpectedEof => {
            io_error("opening the file", path, &e)
        }
        other => torn(path, &other),
    }
}

fn torn(path: &Path, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Torn { path: path.into(), why: why.to_string().into() }
}
