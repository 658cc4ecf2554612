use std::sync::Arc;
use std::thread;

use rocketchat_e2ee::{Code, Error};
use tempfile::TempDir;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(50);

struct Place {
    folder: TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    Place { path: folder.path().join("store.db"), folder }
}

fn open(path: &Path) -> Store {
    Store::open(path, TIMEOUT).unwrap().unwrap()
}

fn fresh() -> (Place, Store) {
    let place = place();
    assert!(Store::create(&place.path, b"key record").unwrap());
    let store = open(&place.path);
    (place, store)
}

fn put(name: &str, expected: u64, data: &[u8]) -> RecordChange {
    RecordChange { name: name.to_owned(), expected, data: Some(data.to_vec()) }
}

fn remove(name: &str, expected: u64) -> RecordChange {
    RecordChange { name: name.to_owned(), expected, data: None }
}

impl Store {
    fn change(&self, key: u64, batch: &[RecordChange]) -> Result<(), StoreError> {
        self.commit(key, batch, &[], 0)
    }

    fn claim_one(&self, id: &str, ttl: u64, now: u64) -> Result<bool, StoreError> {
        Ok(self.claim(&[claim(id, ttl)], now)?[0])
    }
}

fn claim(id: &str, ttl: u64) -> Claim {
    Claim { id: id.to_owned(), ttl }
}

fn names(records: &[SealedRecord]) -> Vec<&str> {
    records.iter().map(|record| record.name.as_str()).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Code {
    Error::from(result.unwrap_err()).code()
}

#[test]
fn a_store_is_created_once_and_by_one() {
    let Place { path, folder } = &place();
    assert!(Store::open(path, TIMEOUT).unwrap().is_none());
    let winners = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8u8).map(|i| scope.spawn(move || Store::create(path, &[i]).unwrap())).collect();
        let won: Vec<bool> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        won.iter().filter(|won| **won).count()
    });
    assert_eq!(winners, 1);
    assert!(!Store::create(path, b"another").unwrap());
    assert_eq!(open(path).key_record().unwrap().version, 1);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "drafts and logs are gone");
}

#[cfg(unix)]
#[test]
fn its_files_are_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (place, store) = fresh();
    store.change(1, &[put("a", 0, b"1")]).unwrap();
    let files: Vec<_> = fs::read_dir(&place.folder).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 3, "with log and index");
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.file_name());
    }
}

#[test]
fn records_outlive_the_connection() {
    let (place, store) = fresh();
    store.change(1, &[put("b", 0, b"1"), put("a", 0, b"2")]).unwrap();
    store.change(1, &[put("b", 1, b"3")]).unwrap();
    store.close().unwrap();
    let records = open(&place.path).load(1, "").unwrap();
    assert_eq!(
        records,
        [
            SealedRecord { name: "a".to_owned(), version: 1, data: b"2".to_vec() },
            SealedRecord { name: "b".to_owned(), version: 2, data: b"3".to_vec() },
        ]
    );
}

#[test]
fn prefixes_are_bytes_and_not_patterns() {
    let (_place, store) = fresh();
    let all = ["", "a", "a%", "a/1", "a/2", "a_", "b", "vault", "vault/1", "\u{10ffff}", "ä"];
    let changes: Vec<_> =
        all.iter().filter(|name| **name != KEY_RECORD).map(|name| put(name, 0, b"1")).collect();
    store.change(1, &changes).unwrap();
    assert_eq!(names(&store.load(1, "a").unwrap()), ["a", "a%", "a/1", "a/2", "a_"]);
    assert_eq!(names(&store.load(1, "a/").unwrap()), ["a/1", "a/2"]);
    assert_eq!(names(&store.load(1, "a%").unwrap()), ["a%"]);
    assert_eq!(names(&store.load(1, "vault").unwrap()), ["vault/1"]);
    assert_eq!(names(&store.load(1, "\u{10ffff}").unwrap()), ["\u{10ffff}"]);
    assert_eq!(store.load(1, "c").unwrap(), []);
    assert_eq!(store.load(1, "").unwrap().len(), all.len() - 1);
}

#[test]
fn a_batch_is_written_whole_or_not_at_all() {
    let (_place, store) = fresh();
    store.change(1, &[put("a", 0, b"1"), put("b", 0, b"1")]).unwrap();
    for conflict in [
        put("a", 0, b"2"),
        put("a", 2, b"2"),
        put("c", 1, b"2"),
        put("a", u64::MAX, b"2"),
        remove("a", 0),
        remove("a", 2),
        remove("c", 1),
        put(KEY_RECORD, 1, b"2"),
        remove(KEY_RECORD, 1),
    ] {
        let batch = [put("new", 0, b"1"), put("b", 1, b"2"), conflict];
        assert_eq!(code(store.change(1, &batch)), Code::StoreConflict, "{:?}", batch[2]);
        assert_eq!(names(&store.load(1, "").unwrap()), ["a", "b"]);
    }
    store.change(1, &[remove("a", 1), remove("c", 0), put("b", 1, b"2")]).unwrap();
    let records = store.load(1, "").unwrap();
    assert_eq!((names(&records), records[0].version), (vec!["b"], 2));
}

#[test]
fn connections_see_each_other_and_lose_no_update() {
    let (place, store) = fresh();
    store.change(1, &[put("counter", 0, &0u64.to_be_bytes())]).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let store = open(&place.path);
                let mut done = 0;
                while done < 25 {
                    let counter = store.load(1, "counter").unwrap().remove(0);
                    let value = u64::from_be_bytes(counter.data.try_into().unwrap()) + 1;
                    match store.change(1, &[put("counter", counter.version, &value.to_be_bytes())])
                    {
                        Ok(()) => done += 1,
                        Err(StoreError::Conflict) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let counter = store.load(1, "counter").unwrap().remove(0);
    assert_eq!((counter.version, counter.data), (101, 100u64.to_be_bytes().to_vec()));
}

#[test]
fn a_claim_is_given_once_until_it_runs_out() {
    let (place, store) = fresh();
    let other = open(&place.path);
    assert!(store.claim_one("a", 100, 1_000).unwrap());
    assert!(!store.claim_one("a", 100, 1_000).unwrap());
    assert!(!other.claim_one("a", 100, 1_099).unwrap());
    assert!(other.claim_one("b", u64::MAX, 1_099).unwrap());
    assert!(other.claim_one("a", 100, 1_100).unwrap());
    assert!(!store.claim_one("a", 100, 1_101).unwrap());
    assert!(!store.claim_one("b", 100, u64::MAX / 4).unwrap());
}

#[test]
fn claims_are_made_one_after_the_other() {
    let (_place, store) = fresh();
    let asked = [claim("a", 10), claim("b", 10), claim("a", 10)];
    assert_eq!(store.claim(&asked, 1).unwrap(), [true, true, false]);
    assert_eq!(store.claim(&asked, 11).unwrap(), [true, true, false]);
    let how: i64 = store
        .lock()
        .as_ref()
        .unwrap()
        .pragma_query_value(None, "synchronous", |row| row.get(0))
        .unwrap();
    assert_eq!(how, 2, "commits wait for the disk again");
}

#[test]
fn a_commit_lengthens_claims_or_does_nothing() {
    let (place, store) = fresh();
    let other = open(&place.path);
    assert!(store.claim_one("a", 10, 0).unwrap());
    store.commit(1, &[put("r", 0, b"1")], &[claim("a", 100), claim("b", 100)], 5).unwrap();
    for id in ["a", "b"] {
        assert!(!other.claim_one(id, 1, 104).unwrap(), "{id}");
    }
    store.commit(1, &[], &[claim("a", 1)], 6).unwrap();
    assert!(!other.claim_one("a", 1, 104).unwrap(), "a claim is never cut short");
    let stale = store.commit(1, &[put("r", 0, b"2")], &[claim("c", 100)], 7);
    assert_eq!(code(stale), Code::StoreConflict);
    assert!(other.claim_one("c", 1, 104).unwrap(), "nothing of a failed commit stays");
    assert!(other.claim_one("a", 1, 105).unwrap());
}

#[test]
fn whoever_waits_too_long_for_another_is_told() {
    let (place, store) = fresh();
    let other = Store::open(&place.path, SHORT).unwrap().unwrap();
    let mut connection = store.lock();
    let transaction = connection
        .as_mut()
        .unwrap()
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    assert_eq!(code(other.change(1, &[put("a", 0, b"1")])), Code::StoreLocked);
    assert_eq!(code(other.claim_one("a", 1, 1)), Code::StoreLocked);
    assert_eq!(other.load(1, "").unwrap(), [], "readers do not wait");
    drop(transaction);
    other.change(1, &[put("a", 0, b"1")]).unwrap();
}

#[test]
fn a_closed_store_says_so_and_has_let_go_of_its_files() {
    let (place, store) = fresh();
    store.change(1, &[put("a", 0, b"1")]).unwrap();
    store.close().unwrap();
    store.close().unwrap();
    assert_eq!(code(store.key_record()), Code::Closed);
    assert_eq!(code(store.load(1, "")), Code::Closed);
    assert_eq!(code(store.change(1, &[])), Code::Closed);
    assert_eq!(code(store.claim_one("a", 1, 1)), Code::Closed);
    assert_eq!(fs::read_dir(&place.folder).unwrap().count(), 1, "the log is in order and gone");
    fs::remove_file(&place.path).unwrap();
}

#[test]
fn what_is_not_a_sound_store_is_told_apart_and_left_as_it_is() {
    let (sound, store) = fresh();
    let records: Vec<_> = (0..100).map(|i| put(&format!("r{i}"), 0, &[i; 900])).collect();
    store.change(1, &records).unwrap();
    store.close().unwrap();
    let bytes = fs::read(&sound.path).unwrap();
    let sql = |sql: &str| {
        let Place { path, folder } = place();
        fs::write(&path, &bytes).unwrap();
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(sql).unwrap();
        connection.close().unwrap();
        let changed = fs::read(&path).unwrap();
        drop(folder);
        changed
    };
    let other = {
        let Place { path, folder } = place();
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE records (name TEXT)").unwrap();
        connection.close().unwrap();
        let other = fs::read(&path).unwrap();
        drop(folder);
        other
    };
    for (what, content, expected) in [
        ("nothing", Vec::new(), Code::StoreCorrupt),
        ("text", b"# my notes\n".repeat(1000), Code::StoreForeign),
        ("noise", vec![0xa5; 8192], Code::StoreForeign),
        ("zeros", vec![0; 8192], Code::StoreForeign),
        ("another application's", other, Code::StoreForeign),
        ("a newer format", sql("PRAGMA user_version = 2"), Code::StoreTooNew),
        ("no format", sql("PRAGMA user_version = 0"), Code::StoreCorrupt),
        (
            "a trigger",
            sql("CREATE TRIGGER t INSERT ON claims BEGIN DELETE FROM records; END"),
            Code::StoreCorrupt,
        ),
        ("no claims", sql("DROP TABLE claims"), Code::StoreCorrupt),
        ("no key record", sql("DELETE FROM records WHERE name = 'vault'"), Code::StoreCorrupt),
        ("half", bytes[..bytes.len() / 2].to_vec(), Code::StoreCorrupt),
        ("half a page more", bytes[..bytes.len() / 2 + 2048].to_vec(), Code::StoreCorrupt),
        (
            "a torn page",
            [&bytes[..4096], &vec![0xff; 4096], &bytes[8192..]].concat(),
            Code::StoreCorrupt,
        ),
        (
            "an impossible version",
            sql("UPDATE records SET version = -1 WHERE name = 'vault'"),
            Code::StoreCorrupt,
        ),
    ] {
        let Place { path, folder: _folder } = &place();
        fs::write(path, &content).unwrap();
        assert_eq!(code(Store::open(path, SHORT)), expected, "{what}");
        assert!(!Store::create(path, b"another").unwrap(), "{what}");
        assert!(fs::read(path).unwrap() == content, "{what} was changed");
    }
}

#[test]
fn damage_to_the_head_of_the_file_has_a_code_and_is_left_as_it_is() {
    let (sound, store) = fresh();
    store.change(1, &[put("a", 0, b"1")]).unwrap();
    store.close().unwrap();
    let bytes = fs::read(&sound.path).unwrap();
    let Place { path, folder: _folder } = &place();
    for position in 0..100 {
        for mask in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[position] ^= mask;
            fs::write(path, &damaged).unwrap();
            match Store::open(path, SHORT) {
                // SQLite looks at few of these bytes, and the records are all there.
                Ok(store) => assert_eq!(store.unwrap().load(1, "").unwrap().len(), 1),
                Err(error) => {
                    let code = Error::from(error).code();
                    let known = [Code::StoreCorrupt, Code::StoreForeign, Code::StoreTooNew];
                    assert!(known.contains(&code), "byte {position} ^ {mask}: {code:?}");
                    assert!(fs::read(path).unwrap() == damaged, "byte {position} ^ {mask}");
                }
            }
            let _ = fs::remove_file(beside(path, "-wal"));
            let _ = fs::remove_file(beside(path, "-shm"));
        }
    }
}

#[test]
fn the_log_of_a_lost_store_is_not_played_into_a_new_one() {
    let Place { path, folder: _folder } = &place();
    fs::write(beside(path, "-wal"), b"records").unwrap();
    assert_eq!(code(Store::create(path, b"key record")), Code::StoreCorrupt);
    assert_eq!(fs::read(beside(path, "-wal")).unwrap(), b"records");
}

#[test]
fn a_place_that_cannot_be_written_is_told() {
    let place = place();
    let nowhere = place.folder.path().join("nowhere").join("store.db");
    assert_eq!(code(Store::create(&nowhere, b"key record")), Code::StoreIo);
    assert_eq!(code(Store::open(place.folder.path(), SHORT)), Code::StoreIo);
}

#[test]
fn another_secret_replaces_the_key_record_and_nothing_else() {
    let (place, store) = fresh();
    store.change(1, &[put("a", 0, b"1")]).unwrap();
    let current = store.key_record().unwrap();
    store.replace_key_record(&current, b"rewrapped").unwrap();
    assert_eq!(store.key_record().unwrap().data, b"rewrapped");
    assert_eq!(code(store.replace_key_record(&current, b"late")), Code::StoreConflict);
    store.change(1, &[put("a", 1, b"2")]).unwrap();
    for suffix in ["", "-wal"] {
        let bytes = fs::read(beside(&place.path, suffix)).unwrap();
        assert!(!bytes.windows(10).any(|window| window == b"key record"), "wiped in {suffix}");
    }
}

#[test]
fn another_data_key_reseals_all_or_nothing_and_shuts_the_old_one_out() {
    let (place, store) = fresh();
    let store = Arc::new(store);
    store.change(1, &[put("a", 0, b"1"), put("b", 0, b"1")]).unwrap();
    store.change(1, &[put("b", 1, b"2")]).unwrap();
    let current = store.key_record().unwrap();
    let failing = store.rekey(&current, b"rekeyed", |record| match record.name.as_str() {
        "a" => Ok(b"resealed".to_vec()),
        _ => Err(VaultError::Mismatch),
    });
    assert_eq!(code(failing), Code::StoreMismatch);
    assert_eq!(store.key_record().unwrap(), current);
    assert_eq!(store.load(1, "a").unwrap()[0].data, b"1");

    let other = open(&place.path);
    store
        .rekey(&current, b"rekeyed", |record| Ok([&record.data, "!".as_bytes()].concat()))
        .unwrap();
    let resealed: Vec<_> = store
        .load(2, "")
        .unwrap()
        .into_iter()
        .map(|record| (record.version, record.data))
        .collect();
    assert_eq!(resealed, [(1, b"1!".to_vec()), (2, b"2!".to_vec())]);
    assert_eq!(code(other.load(1, "")), Code::StoreRekeyed);
    assert_eq!(code(other.change(1, &[put("c", 0, b"1")])), Code::StoreRekeyed);
    assert_eq!(code(other.rekey(&current, b"late", |_| Ok(Vec::new()))), Code::StoreConflict);
}

#[test]
fn commits_are_on_the_disk_when_they_return() {
    let (_place, store) = fresh();
    let connection = store.lock();
    let pragma = |name: &str| {
        let value = connection
            .as_ref()
            .unwrap()
            .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        format!("{:?}", value.unwrap())
    };
    assert_eq!(pragma("synchronous"), "Integer(2)");
    assert_eq!(pragma("fullfsync"), "Integer(1)");
    assert_eq!(pragma("checkpoint_fullfsync"), "Integer(1)");
    assert_eq!(pragma("secure_delete"), "Integer(1)");
    assert_eq!(pragma("trusted_schema"), "Integer(0)");
    assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
}
