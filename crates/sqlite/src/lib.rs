//! The embedded record store: sealed records in one SQLite file.
//!
//! The file is safe for several processes of one machine. Writes are serialised by SQLite's own
//! locks; a commit that returned is on the disk (write-ahead log, `synchronous = FULL`), and
//! survives `kill -9` and loss of power. Nothing here knows a key: records come sealed by
//! [`rocketchat_e2ee::Vault`], and what they are called is not secret. `docs/store-format.md`
//! writes the file down.
//!
//! Every function blocks; callers with an event loop run them on other threads.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rocketchat_e2ee::store::{Claim, KEY_RECORD, RecordChange, SealedRecord, StoreError};
use rocketchat_e2ee::vault::VaultError;
use rusqlite::config::DbConfig;
use rusqlite::ffi::{SQLITE_ERROR, SQLITE_IOERR_SHORT_READ};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Params, Row, Transaction,
    TransactionBehavior, params,
};

/// `PRAGMA application_id` of a store: `RCE2`.
pub const APPLICATION_ID: i32 = 0x5243_4532;
/// `PRAGMA user_version` of the stores that are written here.
pub const FORMAT: i32 = 1;

const SCHEMA: [&str; 3] = [
    "CREATE TABLE records (name TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, data BLOB NOT NULL) STRICT",
    "CREATE TABLE claims (id TEXT PRIMARY KEY NOT NULL, expires INTEGER NOT NULL) STRICT",
    "CREATE INDEX claims_by_expiry ON claims (expires)",
];

const DAMAGED: StoreError = StoreError::Corrupt("the database says so");
const IMPOSSIBLE: StoreError = StoreError::Corrupt("a record holds what no store writes");

/// An open store. It is closed by [`Store::close`], or when it is dropped.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Option<Connection>>,
}

impl Store {
    /// Makes a store that holds a key record and nothing else, readable by this user alone (mode
    /// 0600). The file appears complete or not at all; of several processes that do this at once,
    /// one succeeds. Returns whether this one did; `false` says that something is there already,
    /// which is left as it is.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the write-ahead log of a lost store is there;
    /// [`StoreError::Io`], also where the file system has no hard links.
    pub fn create(path: &Path, key_record: &[u8]) -> Result<bool, StoreError> {
        if exists(path)?.is_some() {
            return Ok(false);
        }
        // SQLite would play it into the new store.
        if exists(&beside(path, "-wal"))?.is_some_and(|length| length > 0) {
            return Err(StoreError::Corrupt("the file is gone, and its write-ahead log is not"));
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| StoreError::Io(Box::new(error)))?;
        let draft = Draft(beside(path, &format!(".{}.new", hex::encode(random))));
        draft.write(key_record)?;
        match fs::hard_link(&draft.0, path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(failed(error)),
        }
        drop(draft);
        sync_folder(path)?;
        Ok(true)
    }

    /// Opens a store; `None` when nothing is there. What is not a sound store of this format is
    /// left as it is.
    ///
    /// `timeout` is how long this and every later call waits for other processes.
    ///
    /// # Errors
    /// [`StoreError::Foreign`], [`StoreError::TooNew`], [`StoreError::Corrupt`],
    /// [`StoreError::Locked`], [`StoreError::Io`].
    pub fn open(path: &Path, timeout: Duration) -> Result<Option<Self>, StoreError> {
        // Asked without opening the file: closing it would drop the locks that this process may
        // hold on it already (POSIX advisory locks, SQLite's "How To Corrupt" §2.2).
        match exists(path)? {
            None => return Ok(None),
            Some(0) => return Err(StoreError::Corrupt("the file is empty")),
            Some(_) => {}
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(refused)?;
        connection.busy_timeout(timeout).map_err(refused)?;
        // Until it is known to be ours, not even its log is put in order.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(refused)?;
        check_kind(&connection)?;
        configure(&connection)?;
        check_schema(&connection)?;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map_err(refused)?;
        Ok(Some(Self { connection: Mutex::new(Some(connection)) }))
    }

    /// The record that holds the wrapped data key.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when there is none; as every call [`StoreError::Closed`],
    /// [`StoreError::Locked`], [`StoreError::Corrupt`] and [`StoreError::Io`].
    pub fn key_record(&self) -> Result<SealedRecord, StoreError> {
        self.read(|transaction| key_record(transaction))
    }

    /// The records whose names begin with `prefix`, in the order of their names' UTF-8 bytes,
    /// without the key record, and all of one moment.
    ///
    /// `key` is the version of the key record that the caller opened.
    ///
    /// # Errors
    /// [`StoreError::Rekeyed`] when the key record has another version; as [`Store::key_record`].
    pub fn load(&self, key: u64, prefix: &str) -> Result<Vec<SealedRecord>, StoreError> {
        self.read(|transaction| {
            check_key(transaction, key)?;
            records(transaction, prefix)
        })
    }

    /// Writes all changes and makes all claims, or none. A claim that somebody holds, whoever it
    /// is, is lengthened.
    ///
    /// `key` is the version of the key record under whose data key the changes were sealed; `now`
    /// is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a record has another version than its change expects, or is
    /// the key record; as [`Store::load`].
    pub fn commit(
        &self,
        key: u64,
        batch: &[RecordChange],
        claims: &[Claim],
        now: u64,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            check_key(transaction, key)?;
            batch.iter().try_for_each(|change| apply(transaction, change))?;
            let sql = "INSERT INTO claims (id, expires) VALUES (?1, ?2)
                       ON CONFLICT DO UPDATE SET expires = max(expires, excluded.expires)";
            let mut lengthen = transaction.prepare(sql).map_err(refused)?;
            claims.iter().try_for_each(|claim| {
                lengthen.execute(params![claim.id, expiry(claim, now)]).map(drop).map_err(refused)
            })
        })
    }

    /// Makes each claim, one after the other, from `now` on (milliseconds since 1970); returns of
    /// each whether nobody held it, in any process. Claims that have run out are removed.
    ///
    /// Unlike a commit, this does not wait for the disk: a claim outlives the process, and may be
    /// lost with power, for all who share the file.
    ///
    /// # Errors
    /// As [`Store::key_record`].
    pub fn claim(&self, claims: &[Claim], now: u64) -> Result<Vec<bool>, StoreError> {
        let mut connection = self.lock();
        let connection = connection.as_mut().ok_or(StoreError::Closed)?;
        // In the write-ahead log, this leaves out the wait for the disk and nothing else.
        connection.pragma_update(None, "synchronous", "normal").map_err(refused)?;
        let claimed = transact(connection, TransactionBehavior::Immediate, |transaction| {
            let sql = "DELETE FROM claims WHERE expires <= ?1";
            execute(transaction, sql, [i64::try_from(now).unwrap_or(i64::MAX)])?;
            let sql = "INSERT INTO claims (id, expires) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            let mut make = transaction.prepare(sql).map_err(refused)?;
            let make = |claim: &Claim| {
                Ok(make.execute(params![claim.id, expiry(claim, now)]).map_err(refused)? == 1)
            };
            claims.iter().map(make).collect()
        });
        connection.pragma_update(None, "synchronous", "full").map_err(refused)?;
        claimed
    }

    /// Puts another key record for the same data key in place of `current`, whose version stays.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the key record is not `current` any more; as
    /// [`Store::key_record`].
    pub fn replace_key_record(
        &self,
        current: &SealedRecord,
        data: &[u8],
    ) -> Result<(), StoreError> {
        self.write(|transaction| put_key_record(transaction, current, current.version, data))?;
        self.forget()
    }

    /// Puts the key record of another data key in place of `current`, and what `reseal` makes of
    /// each record in its place, under its name and version; all or nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the key record is not `current` any more,
    /// [`StoreError::Vault`] when `reseal` fails; as [`Store::key_record`].
    pub fn rekey(
        &self,
        current: &SealedRecord,
        data: &[u8],
        mut reseal: impl FnMut(&SealedRecord) -> Result<Vec<u8>, VaultError>,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            put_key_record(transaction, current, next(current.version)?, data)?;
            for record in records(transaction, "")? {
                let resealed = reseal(&record)?;
                let sql = "UPDATE records SET data = ?2 WHERE name = ?1";
                execute(transaction, sql, params![record.name, resealed])?;
            }
            Ok(())
        })?;
        self.forget()
    }

    /// Closes the file; the last process to do so puts the log in order and removes it. Every
    /// later call but this one fails with [`StoreError::Closed`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn close(&self) -> Result<(), StoreError> {
        match self.lock().take() {
            Some(connection) => connection.close().map_err(|(_, error)| refused(error)),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transact(TransactionBehavior::Deferred, work)
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transact(TransactionBehavior::Immediate, work)
    }

    fn transact<T>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.lock();
        transact(connection.as_mut().ok_or(StoreError::Closed)?, behavior, work)
    }

    /// Empties the log, in which the replaced bytes still stand. Where another process is in the
    /// middle of reading, they stay until the log is next put in order.
    fn forget(&self) -> Result<(), StoreError> {
        let connection = self.lock();
        let connection = connection.as_ref().ok_or(StoreError::Closed)?;
        match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            Ok(()) => Ok(()),
            Err(error) => match refused(error) {
                StoreError::Locked => Ok(()),
                error => Err(error),
            },
        }
    }
}

fn transact<T>(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = connection.transaction_with_behavior(behavior).map_err(refused)?;
    let result = work(&transaction)?;
    transaction.commit().map_err(refused)?;
    Ok(result)
}

/// When a claim runs out, in milliseconds since 1970.
fn expiry(claim: &Claim, now: u64) -> i64 {
    i64::try_from(now.saturating_add(claim.ttl)).unwrap_or(i64::MAX)
}

/// A store that is not in its place yet; its file goes when this is dropped.
struct Draft(PathBuf);

impl Draft {
    fn write(&self, key_record: &[u8]) -> Result<(), StoreError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // SQLite gives its log and its index the mode of the database.
        drop(options.open(&self.0).map_err(failed)?);

        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.0, flags).map_err(refused)?;
        configure(&connection)?;
        connection
            .pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
            .map_err(refused)?;
        let transaction = connection.transaction().map_err(refused)?;
        for sql in SCHEMA {
            execute(&transaction, sql, [])?;
        }
        let sql = "INSERT INTO records (name, version, data) VALUES (?1, 1, ?2)";
        execute(&transaction, sql, params![KEY_RECORD, key_record])?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(refused)?;
        transaction.pragma_update(None, "user_version", FORMAT).map_err(refused)?;
        transaction.commit().map_err(refused)?;
        connection.close().map_err(|(_, error)| refused(error))?;
        let file = OpenOptions::new().write(true).open(&self.0).map_err(failed)?;
        file.sync_all().map_err(failed)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            // What is left over is a key that nobody uses.
            let _ = fs::remove_file(beside(&self.0, suffix));
        }
    }
}

/// Tells other files from stores, and stores of newer versions.
fn check_kind(connection: &Connection) -> Result<(), StoreError> {
    let pragma = |name| {
        connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(|error| {
            match error.sqlite_error_code() {
                Some(ErrorCode::NotADatabase) => StoreError::Foreign("it is no SQLite database"),
                _ => refused(error),
            }
        })
    };
    if pragma("application_id")? != APPLICATION_ID {
        return Err(StoreError::Foreign("it is another application's database"));
    }
    match pragma("user_version")? {
        FORMAT => Ok(()),
        newer if newer > FORMAT => Err(StoreError::TooNew),
        _ => Err(StoreError::Corrupt("its format has an impossible number")),
    }
}

/// How this library uses its databases, whatever the file says.
fn configure(connection: &Connection) -> Result<(), StoreError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(refused)?;
    for (pragma, value) in [
        ("trusted_schema", "off"),
        ("cell_size_check", "on"),
        // A commit is on the disk when it returns; on macOS that takes more than fsync.
        ("synchronous", "full"),
        ("fullfsync", "on"),
        ("checkpoint_fullfsync", "on"),
        // What is replaced is wiped.
        ("secure_delete", "on"),
    ] {
        let setting = connection.pragma_update(None, pragma, value);
        match setting {
            // Some answer with the new value.
            Ok(()) | Err(rusqlite::Error::ExecuteReturnedResults) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Ok(())
}

/// Finds damage before anything relies on the file.
fn check_schema(connection: &Connection) -> Result<(), StoreError> {
    let mode: String =
        connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(refused)?;
    if mode != "wal" {
        return Err(StoreError::Corrupt("the database has no write-ahead log"));
    }
    let mut statement = connection
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
        .map_err(refused)?;
    let schema: Vec<String> = rows(statement.query_map([], |row| row.get(0)).map_err(refused)?)?;
    if schema != SCHEMA {
        return Err(StoreError::Corrupt("the database has other tables"));
    }
    let verdict: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(refused)?;
    if verdict != "ok" {
        return Err(DAMAGED);
    }
    key_record(connection).map(|_| ())
}

fn key_record(connection: &Connection) -> Result<SealedRecord, StoreError> {
    let sql = "SELECT name, version, data FROM records WHERE name = ?1";
    let parts = connection.query_row(sql, [KEY_RECORD], parts).optional().map_err(refused)?;
    record(parts.ok_or(StoreError::Corrupt("the record with the data key is gone"))?)
}

fn check_key(transaction: &Transaction<'_>, key: u64) -> Result<(), StoreError> {
    let sql = "SELECT version FROM records WHERE name = ?1";
    let version: Option<i64> =
        transaction.query_row(sql, [KEY_RECORD], |row| row.get(0)).optional().map_err(refused)?;
    match version {
        Some(version) if u64::try_from(version) == Ok(key) => Ok(()),
        Some(_) => Err(StoreError::Rekeyed),
        None => Err(StoreError::Corrupt("the record with the data key is gone")),
    }
}

fn records(transaction: &Transaction<'_>, prefix: &str) -> Result<Vec<SealedRecord>, StoreError> {
    let sql = "SELECT name, version, data FROM records WHERE name >= ?1 ORDER BY name";
    let mut statement = transaction.prepare(sql).map_err(refused)?;
    let mut found = Vec::new();
    for row in statement.query_map([prefix], parts).map_err(refused)? {
        let record = record(row.map_err(refused)?)?;
        if !record.name.starts_with(prefix) {
            break;
        }
        if record.name != KEY_RECORD {
            found.push(record);
        }
    }
    Ok(found)
}

fn apply(transaction: &Transaction<'_>, change: &RecordChange) -> Result<(), StoreError> {
    let RecordChange { name, expected, data } = change;
    if name == KEY_RECORD {
        return Err(StoreError::Conflict);
    }
    let (next, expected) = (next(*expected)?, signed(*expected)?);
    let changed = match (expected, data) {
        (0, Some(data)) => {
            let sql = "INSERT INTO records (name, version, data) VALUES (?1, ?2, ?3)
                       ON CONFLICT DO NOTHING";
            execute(transaction, sql, params![name, signed(next)?, data])?
        }
        (0, None) => {
            let sql = "SELECT count(*) FROM records WHERE name = ?1";
            let there: i64 =
                transaction.query_row(sql, [name], |row| row.get(0)).map_err(refused)?;
            usize::from(there == 0)
        }
        (_, Some(data)) => {
            let sql = "UPDATE records SET version = ?3, data = ?4 WHERE name = ?1 AND version = ?2";
            execute(transaction, sql, params![name, expected, signed(next)?, data])?
        }
        (_, None) => {
            let sql = "DELETE FROM records WHERE name = ?1 AND version = ?2";
            execute(transaction, sql, params![name, expected])?
        }
    };
    if changed == 1 { Ok(()) } else { Err(StoreError::Conflict) }
}

fn put_key_record(
    transaction: &Transaction<'_>,
    current: &SealedRecord,
    version: u64,
    data: &[u8],
) -> Result<(), StoreError> {
    let sql = "UPDATE records SET version = ?1, data = ?2
               WHERE name = ?3 AND version = ?4 AND data = ?5";
    let current_version = signed(current.version)?;
    let values = params![signed(version)?, data, KEY_RECORD, current_version, current.data];
    if execute(transaction, sql, values)? == 1 { Ok(()) } else { Err(StoreError::Conflict) }
}

fn execute(
    transaction: &Transaction<'_>,
    sql: &str,
    values: impl Params,
) -> Result<usize, StoreError> {
    transaction.execute(sql, values).map_err(refused)
}

fn parts(row: &Row<'_>) -> rusqlite::Result<(String, i64, Vec<u8>)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn record((name, version, data): (String, i64, Vec<u8>)) -> Result<SealedRecord, StoreError> {
    let version = u64::try_from(version).ok().filter(|version| *version > 0).ok_or(IMPOSSIBLE)?;
    Ok(SealedRecord { name, version, data })
}

fn rows<T>(rows: impl Iterator<Item = rusqlite::Result<T>>) -> Result<Vec<T>, StoreError> {
    rows.collect::<rusqlite::Result<_>>().map_err(refused)
}

fn next(version: u64) -> Result<u64, StoreError> {
    version.checked_add(1).ok_or(StoreError::Conflict)
}

/// SQLite's integers end earlier than ours; no record has such a version.
fn signed(version: u64) -> Result<i64, StoreError> {
    i64::try_from(version).map_err(|_| StoreError::Conflict)
}

/// The one place where SQLite's errors are told apart.
fn refused(error: rusqlite::Error) -> StoreError {
    match &error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => IMPOSSIBLE,
        // All SQL is ours and sound, so this says that the file is not.
        rusqlite::Error::SqliteFailure(failure, _)
            if matches!(failure.extended_code, SQLITE_ERROR | SQLITE_IOERR_SHORT_READ) =>
        {
            DAMAGED
        }
        rusqlite::Error::SqlInputError { .. } => DAMAGED,
        _ => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => DAMAGED,
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed,
            ) => StoreError::Locked,
            _ => StoreError::Io(Box::new(error)),
        },
    }
}

fn failed(error: io::Error) -> StoreError {
    StoreError::Io(Box::new(error))
}

/// The length of a file; `None` when nothing is there.
fn exists(path: &Path) -> Result<Option<u64>, StoreError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Makes a new name survive loss of power. Windows has no such call, and its journal does it.
fn sync_folder(path: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
