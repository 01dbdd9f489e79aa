//! rpm's database, as rpm 4.16 and later keep it: SQLite, with the header of each package as rpm's files have it.

use std::fs::File;
use std::os::fd::AsRawFd;

use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

/// No database is larger.
const MAX_DATABASE: u64 = 1 << 30;
const MAX_HEADER: i32 = 16 << 20;
/// What SQLite may do for it, in thousands of its instructions: some ten seconds, and many times what all packages of
/// a distribution take.
const MAX_WORK: u32 = 1 << 18;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const ARCH: u32 = 1022;

/// What a package's header says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) release: String,
    pub(super) epoch: Option<u32>,
    /// Keys for signatures have none.
    pub(super) arch: String,
}

/// All packages of a database; none of what is not one.
pub(super) fn packages(database: &File) -> Vec<Header> {
    match database.metadata() {
        Ok(meta) if meta.is_file() && meta.len() <= MAX_DATABASE => {}
        _ => return Vec::new(),
    }
    read(database).unwrap_or_default()
}

fn read(database: &File) -> rusqlite::Result<Vec<Header>> {
    // Nothing is looked for beside it, nor written.
    let address = format!("file:/proc/self/fd/{}?immutable=1", database.as_raw_fd());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut database = Connection::open_with_flags(address, flags)?;
    database.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_HEADER)?;
    let mut work = 0;
    let too_much = move || {
        work += 1;
        work > MAX_WORK
    };
    database.progress_handler(1000, Some(too_much))?;
    database.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")?;
    // Nothing in it is run: neither a view, nor a virtual table, nor the expression of a column.
    let is_table = "SELECT count(*) FROM pragma_table_list
                    WHERE schema = 'main' AND name = 'Packages' AND type = 'table'";
    let is_stored =
        "SELECT count(*) FROM pragma_table_xinfo('Packages') WHERE name = 'blob' AND hidden = 0";
    let one = |question| database.query_row(question, [], |row| row.get::<_, i64>(0));
    if one(is_table)? != 1 || one(is_stored)? != 1 {
        return Ok(Vec::new());
    }
    let mut statement = database.prepare("SELECT blob FROM Packages")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let header = row.get_ref(0)?.as_blob().ok().and_then(header);
        found.extend(header.filter(|header| !header.arch.is_empty()));
    }
    Ok(found)
}

/// An index of entries of 16 bytes (tag, type, offset, count), and the data they point into; both lengths come first.
fn header(blob: &[u8]) -> Option<Header> {
    let number = |at: usize| {
        let bytes = blob.get(at..at.checked_add(4)?)?;
        bytes.try_into().ok().map(u32::from_be_bytes)
    };
    let entries = usize::try_from(number(0)?).ok()?;
    let data = entries.checked_mul(16)?.checked_add(8)?;
    let index = blob.get(8..data)?;
    let mut found = Header::default();
    for position in 0..index.len() / 16 {
        let entry = 8 + position * 16;
        let tag = number(entry)?;
        let at = data.checked_add(usize::try_from(number(entry + 8)?).ok()?)?;
        let text = || {
            let rest = blob.get(at..)?;
            let end = rest.iter().position(|b| *b == 0)?;
            Some(String::from_utf8_lossy(&rest[..end]).into_owned())
        };
        match tag {
            NAME => found.name = text()?,
            VERSION => found.version = text()?,
            RELEASE => found.release = text()?,
            EPOCH => found.epoch = Some(number(at)?),
            ARCH => found.arch = text()?,
            _ => {}
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(fields: &[(u32, &[u8])]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, value) in fields {
            for number in [*tag, 6, data.len() as u32, 1] {
                index.extend(number.to_be_bytes());
            }
            data.extend(*value);
        }
        let lengths = [fields.len() as u32, data.len() as u32];
        let lengths = lengths.iter().flat_map(|length| length.to_be_bytes());
        lengths.chain(index).chain(data).collect()
    }

    fn database(schema: &str, blobs: &[Vec<u8>]) -> (tempfile::NamedTempFile, File) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let made = Connection::open(file.path()).unwrap();
        made.execute_batch(schema).unwrap();
        for blob in blobs {
            made.execute("INSERT INTO Packages (blob) VALUES (?)", [blob])
                .unwrap();
        }
        drop(made);
        let opened = File::open(file.path()).unwrap();
        (file, opened)
    }

    const SCHEMA: &str =
        "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)";

    #[test]
    fn a_database_tells_of_packages() {
        let bash = blob(&[
            (NAME, b"bash\0"),
            (VERSION, b"5.2.26\0"),
            (RELEASE, b"3.fc40\0"),
            (EPOCH, &7u32.to_be_bytes()),
            (ARCH, b"x86_64\0"),
            (5000, b"else\0"),
        ]);
        let key = blob(&[(NAME, b"gpg-pubkey\0"), (VERSION, b"1\0")]);
        let mut cut = bash.clone();
        cut.truncate(60);
        let lying = [u32::MAX.to_be_bytes(), u32::MAX.to_be_bytes()].concat();
        let (_file, opened) = database(SCHEMA, &[bash, key, cut, lying, Vec::new()]);
        let expected = Header {
            name: "bash".into(),
            version: "5.2.26".into(),
            release: "3.fc40".into(),
            epoch: Some(7),
            arch: "x86_64".into(),
        };
        assert_eq!(packages(&opened), [expected]);
    }

    /// A header of more than 16 MB ends the list: SQLite does not even read it.
    #[test]
    fn a_header_is_of_limited_size() {
        let header = |padding| {
            let fields: [(u32, &[u8]); 3] = [
                (NAME, b"a\0"),
                (ARCH, b"noarch\0"),
                (5000, &vec![0; padding]),
            ];
            blob(&fields)
        };
        let (_file, opened) = database(SCHEMA, &[header(1 << 20)]);
        assert_eq!(packages(&opened).len(), 1);
        let (_file, opened) = database(SCHEMA, &[header(17 << 20)]);
        assert_eq!(packages(&opened), []);
    }

    #[test]
    fn what_is_no_database_has_none() {
        let endless = "CREATE VIEW Packages AS WITH RECURSIVE n(blob) AS (SELECT x'00' UNION ALL SELECT blob FROM n)
                       SELECT blob FROM n";
        let (_file, opened) = database(endless, &[]);
        assert_eq!(packages(&opened), []);
        for column in [
            "blob AS(zeroblob(1000))",
            "blob BLOB GENERATED ALWAYS AS (zeroblob(1000)) STORED",
        ] {
            let computed = format!(
                "CREATE TABLE Packages (hnum INTEGER, {column});
                                    INSERT INTO Packages (hnum) VALUES (1)"
            );
            let (_file, opened) = database(&computed, &[]);
            assert_eq!(packages(&opened), [], "{column}");
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"SQLite format 3\0 and nothing else").unwrap();
        assert_eq!(packages(&File::open(file.path()).unwrap()), []);
    }
}
