//! The files: whose they are, how they are made, the key apart from the records, and a file that goes while it is open.

use super::*;
use crate::store::redb::{self, Openings};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn key(path: &Path, candidate: u128) -> Result<Option<u128>, StoreError> {
    redb::key(path, candidate).map(|(key, _)| key)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn loosen(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

fn key_file(dir: &Dir) -> PathBuf {
    dir.0.join("segno.redb.key")
}

fn names_in(dir: &Dir) -> Vec<String> {
    let all = std::fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut all: Vec<String> = all.collect();
    all.sort();
    all
}

/// A store as an earlier version made it: anybody may read it, and its key lies inside.
fn old_form(path: &Path, secret: u128) {
    let database = Database::create(path).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut meta = write.open_table(META).unwrap();
        for (name, value) in [("format", 1), ("secret-low", secret as u64), ("secret-high", (secret >> 64) as u64)] {
            meta.insert(name, value).unwrap();
        }
    }
    write.commit().unwrap();
    drop(database);
    loosen(path);
}

fn numbers_in(path: &Path) -> Vec<String> {
    let database = Database::create(path).unwrap();
    let read = ::redb::ReadableDatabase::begin_read(&database).unwrap();
    let table = read.open_table(META).unwrap();
    ::redb::ReadableTable::iter(&table).unwrap().map(|entry| entry.unwrap().0.value().to_owned()).collect()
}

#[test]
fn a_new_store_and_its_key_are_their_owners_alone_and_nothing_else_is_left() {
    let dir = Dir::new();
    let secret = key(&dir.file(), 0xabc).unwrap();
    let mut store = open(&dir.file()).unwrap();
    assert_eq!((secret, store.sessions.secret(0xdef)), (Some(0xabc), Ok(0xabc)));
    assert_eq!((mode(&dir.file()), mode(&key_file(&dir))), (0o600, 0o600));
    assert_eq!(names_in(&dir), ["segno.redb", "segno.redb.key"]);
}

#[test]
fn files_that_others_could_read_are_closed_to_them() {
    let dir = Dir::new();
    key(&dir.file(), 1).unwrap();
    drop(open(&dir.file()).unwrap());
    [dir.file(), key_file(&dir)].iter().for_each(|path| loosen(path));
    let (key, note) = redb::key(&dir.file(), 2).unwrap();
    assert!(key == Some(1) && note.is_some_and(|note| note.contains("segno.redb.key could be read")));
    let mut openings = Openings::new(dir.file());
    drop(openings.open().unwrap());
    assert!(openings.take_notes().concat().contains("segno.redb could be read by others"));
    assert_eq!((mode(&dir.file()), mode(&key_file(&dir))), (0o600, 0o600));
}

#[test]
fn the_key_is_read_while_the_store_is_locked() {
    let dir = Dir::new();
    let mut store = open(&dir.file()).unwrap();
    assert_eq!(store.sessions.secret(7), Ok(7));
    assert!(matches!(open(&dir.file()), Err(StoreError::Locked { .. })));
    assert_eq!(key(&dir.file(), 8), Ok(Some(7)));
}

#[test]
fn processes_that_start_together_agree_on_one_key() {
    for _ in 0..50 {
        let dir = Dir::new();
        let keys: Vec<_> = thread::scope(|scope| {
            let path = dir.file();
            let asks = |n: u128| {
                let path = path.clone();
                move || key(&path, n)
            };
            let all: Vec<_> = (1..=4).map(|n| scope.spawn(asks(n))).collect();
            all.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| key.is_ok() && *key == keys[0]), "{keys:?}");
        assert_eq!(names_in(&dir), ["segno.redb.key"]);
    }
}

#[test]
fn of_processes_that_make_a_store_together_one_gets_it_and_the_others_wait() {
    for _ in 0..20 {
        let dir = Dir::new();
        let opened: Vec<_> = thread::scope(|scope| {
            let all: Vec<_> = (0..3).map(|_| scope.spawn(|| open(&dir.file()))).collect();
            all.into_iter().map(|opened| opened.join().unwrap()).collect()
        });
        assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1, "{opened:?}");
        assert!(opened.iter().flat_map(|opened| opened.as_ref().err()).all(|e| matches!(e, StoreError::Locked { .. })));
        assert_eq!(names_in(&dir), ["segno.redb"]);
    }
}

#[test]
fn a_key_that_lies_in_the_store_moves_out_and_stays_the_same() {
    let dir = Dir::new();
    let old = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
    old_form(&dir.file(), old);
    // To look into the store changes nothing in it.
    drop(open(&dir.file()).unwrap());
    assert_eq!((key(&dir.file(), 5), names_in(&dir).len()), (Ok(None), 1));
    let mut store = open(&dir.file()).unwrap();
    assert_eq!(store.sessions.secret(5), Ok(old));
    put(&mut store, 1, 1).unwrap();
    drop(store);
    assert_eq!((key(&dir.file(), 6), mode(&dir.file()), mode(&key_file(&dir))), (Ok(Some(old)), 0o600, 0o600));
    assert_eq!(numbers_in(&dir.file()), ["format"]);
}

#[test]
fn what_is_no_key_is_refused_by_name_and_left_as_it_is() {
    let dir = Dir::new();
    let short = "segno-key-1 0123\n";
    for content in [
        "",
        "hello",
        short,
        "segno-key-1 +123456789abcdef0123456789abcde0",
        "segno-key-2 00000000000000000000000000000000",
    ] {
        std::fs::write(key_file(&dir), content).unwrap();
        let error = key(&dir.file(), 1).unwrap_err();
        assert!(error.is_misconfigured() && error.to_string().contains("segno.redb.key"), "{error}");
        assert!(!error.to_string().contains("0123"), "{error}");
        assert_eq!(std::fs::read_to_string(key_file(&dir)).unwrap(), content);
    }
}

#[test]
fn a_path_where_no_store_can_be_is_named() {
    let dir = Dir::new();
    for path in [dir.0.clone(), dir.0.join("no/where.redb"), PathBuf::from("/dev/null")] {
        let error = open(&path).unwrap_err();
        assert!(error.is_misconfigured() && error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    assert!(key(&dir.0.join("no/where.redb"), 1).is_err_and(|e| e.is_misconfigured()));
}

#[test]
fn a_deleted_file_is_noticed_and_written_again_with_all_it_had() {
    let dir = Dir::new();
    let mut openings = Openings::new(dir.file());
    let mut store = openings.open().unwrap();
    let secret = store.sessions.secret(9).unwrap();
    put(&mut store, 1, 5).unwrap();
    std::fs::remove_file(dir.file()).unwrap();
    std::fs::remove_file(key_file(&dir)).unwrap();
    assert_eq!(put(&mut store, 1, 6), Err(StoreError::Gone { path: dir.file() }));
    drop(store);
    let mut store = openings.open().unwrap();
    assert_eq!(store.sessions.secret(secret), Ok(secret));
    assert_eq!(store.lookup.get_last_event_id(&name(1)), Ok(Some(cursor(5))));
    put(&mut store, 1, 6).unwrap();
    assert_eq!((mode(&dir.file()), names_in(&dir).len()), (0o600, 2));
}

#[test]
fn a_file_in_place_of_the_open_one_is_opened_and_a_key_that_went_is_noticed() {
    let dir = Dir::new();
    let mut openings = Openings::new(dir.file());
    let mut store = openings.open().unwrap();
    store.sessions.secret(9).unwrap();
    put(&mut store, 1, 5).unwrap();
    let other = dir.0.join("other.redb");
    put(&mut open(&other).unwrap(), 2, 8).unwrap();
    std::fs::rename(&other, dir.file()).unwrap();
    assert_eq!(put(&mut store, 1, 6), Err(StoreError::Gone { path: dir.file() }));
    drop(store);
    let mut store = openings.open().unwrap();
    assert_eq!(store.lookup.scan(None, 9).unwrap(), [((*name(2)).clone(), cursor(8))]);
    store.sessions.secret(9).unwrap();
    std::fs::remove_file(key_file(&dir)).unwrap();
    assert_eq!(put(&mut store, 1, 6), Err(StoreError::Gone { path: key_file(&dir) }));
}
