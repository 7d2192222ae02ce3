//! The key that names are hashed with, in a file of its own beside the store.
//!
//! In: the path of a store; a key to begin with. Out: the key that all processes with this store use.
//! Laws: the file can be read while another process has the store locked; it is read by its owner alone; processes that
//! start together agree on one key; a key that was given out is on the disk; a key is never shown.
//!
//! Who has the store and not the key cannot tell whose sessions these are, and cannot try credentials on them.
//! The file has one line: `segno-key-1 `, then 32 hexadecimal digits.

use super::place::{Unfinished, beside, io_error, tighten};
use crate::store::StoreError;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// What the line begins with.
const FORM: &str = "segno-key-1 ";

/// A key's file is read up to this many bytes.
const MOST: u64 = 256;

/// Where the key of a store lies: `segno.redb` has its key in `segno.redb.key`.
pub(super) fn file_of(store: &Path) -> PathBuf {
    beside(store, ".key")
}

/// The key of the store at this path, made from `candidate` where there is neither a key nor a store, and a note that
/// is worth a log line. No key: there is a store without one, which may hold it inside, as in earlier versions;
/// [`SessionStore::secret`] will tell.
///
/// # Errors
/// [`StoreError::BadKey`], [`StoreError::Misplaced`], [`StoreError::Io`].
///
/// [`SessionStore::secret`]: crate::store::SessionStore::secret
pub fn key(store: &Path, candidate: u128) -> Result<(Option<u128>, Option<String>), StoreError> {
    let was_open = || {
        let name = file_of(store);
        let name = name.display();
        format!(
            "{name} could be read by others and now cannot; who has read it can try credentials on a copy of the store"
        )
    };
    match read(store)? {
        Some((key, closed)) => Ok((Some(key), closed.then(was_open))),
        None if std::fs::metadata(store).is_ok_and(|meta| meta.len() > 0 || !meta.is_file()) => Ok((None, None)),
        None => Ok((Some(make(store, candidate)?), None)),
    }
}

/// Whether the key of a store, if there is one, can be used. Changes nothing.
pub(super) fn check(store: &Path) -> Result<(), StoreError> {
    find(store).map(drop)
}

/// The key of a store, if there is one, and whether others could read it until now.
pub(super) fn read(store: &Path) -> Result<Option<(u128, bool)>, StoreError> {
    let Some((key, file)) = find(store)? else { return Ok(None) };
    match tighten(&file) {
        Ok(closed) => Ok(Some((key, closed))),
        Err(e) => {
            let why = format!("others can read it, and that cannot be changed: {e}");
            Err(StoreError::BadKey { path: file_of(store), why: why.into() })
        }
    }
}

fn find(store: &Path) -> Result<Option<(u128, File)>, StoreError> {
    let path = file_of(store);
    let bad = |why: String| StoreError::BadKey { path: path.clone(), why: why.into() };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(bad(e.to_string())),
    };
    let mut text = Vec::new();
    (&file).take(MOST).read_to_end(&mut text).map_err(|e| bad(e.to_string()))?;
    let key =
        parse(&text).ok_or_else(|| bad("it is not one line of `segno-key-1` and 32 hexadecimal digits".into()))?;
    Ok(Some((key, file)))
}

fn parse(text: &[u8]) -> Option<u128> {
    let digits = str::from_utf8(text).ok()?.trim_end().strip_prefix(FORM)?;
    let sound = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u128::from_str_radix(digits, 16).ok().filter(|_| sound)
}

/// Keeps `candidate` as the key of a store, or returns the key that another process kept first.
pub(super) fn make(store: &Path, candidate: u128) -> Result<u128, StoreError> {
    let path = file_of(store);
    match write(&path, candidate) {
        Ok(()) => Ok(candidate),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let gone = || StoreError::Io { doing: "making the key", why: "another process removed it".into() };
            read(store)?.map(|(key, _)| key).ok_or_else(gone)
        }
        Err(e) => Err(io_error("making the key", &path, &e)),
    }
}

fn write(path: &Path, key: u128) -> io::Result<()> {
    let (unfinished, mut file) = Unfinished::begin(path)?;
    file.write_all(format!("{FORM}{key:032x}\n").as_bytes())?;
    file.sync_all()?;
    unfinished.finish()
}
