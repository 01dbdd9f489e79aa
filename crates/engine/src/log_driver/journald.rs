//! systemd's journal, by its native protocol.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use rctr_runtime::logs::Stream;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::record::Record;
use super::{About, Sink, attributes};

const SOCKET: &str = "/run/systemd/journal/socket";

pub(super) struct Journald {
    about: About,
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Journald {
    pub(super) fn new(about: &About) -> Journald {
        Journald::at(about, SOCKET.into())
    }

    pub(super) fn at(about: &About, path: PathBuf) -> Journald {
        Journald {
            about: about.clone(),
            path,
            socket: None,
        }
    }

    pub(super) fn check(&mut self) -> io::Result<()> {
        match self.connect() {
            Ok(_) => Ok(()),
            Err(e) => Err(io::Error::new(
                e.kind(),
                format!("journald is not enabled on this host: {e}"),
            )),
        }
    }

    fn connect(&mut self) -> io::Result<&UnixDatagram> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&self.path)?;
                socket.set_write_timeout(Some(Duration::from_secs(10)))?;
                socket
            }
        };
        Ok(self.socket.insert(socket))
    }

    fn entry(&self, record: &Record) -> Vec<u8> {
        let about = &self.about;
        let short = about.id.get(..12).unwrap_or(&about.id);
        let priority = match record.stream {
            Stream::Stdout => "6",
            Stream::Stderr => "3",
        };
        let time = attributes::rfc3339(record.time);
        let mut fields: BTreeMap<String, &str> = BTreeMap::new();
        for (name, value) in &about.attributes {
            fields.insert(field_name(name), value);
        }
        for (name, value) in [
            ("CONTAINER_ID", short),
            ("CONTAINER_ID_FULL", &about.id),
            ("CONTAINER_NAME", &about.name),
            ("CONTAINER_TAG", &about.tag),
            ("IMAGE_NAME", &about.image),
            ("SYSLOG_IDENTIFIER", &about.tag),
            ("SYSLOG_TIMESTAMP", &time),
            ("PRIORITY", priority),
        ] {
            fields.insert(name.to_owned(), value);
        }
        let number = record.piece.as_ref().map(|piece| piece.number.to_string());
        if let (Some(piece), Some(number)) = (&record.piece, &number) {
            fields.insert("CONTAINER_PARTIAL_ID".into(), &piece.id);
            fields.insert("CONTAINER_PARTIAL_ORDINAL".into(), number);
            let last = if piece.last { "true" } else { "false" };
            fields.insert("CONTAINER_PARTIAL_LAST".into(), last);
            if !piece.last {
                fields.insert("CONTAINER_PARTIAL_MESSAGE".into(), "true");
            }
        }
        let mut entry = Vec::new();
        for (name, value) in &fields {
            field(&mut entry, name, value.as_bytes());
        }
        field(&mut entry, "MESSAGE", &record.text);
        entry
    }
}

/// `NAME=value`, or with the length before a value of several lines.
fn field(entry: &mut Vec<u8>, name: &str, value: &[u8]) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value);
    entry.push(b'\n');
}

/// The journal takes capital letters, digits and underscores; those that begin with one are its own.
fn field_name(name: &str) -> String {
    let letter = |c: char| match c.to_ascii_uppercase() {
        c @ ('A'..='Z' | '0'..='9') => c,
        _ => '_',
    };
    let name: String = name.chars().map(letter).collect();
    name.trim_start_matches('_').to_owned()
}

/// An entry that is too large for a datagram is handed over as a file.
fn send(socket: &UnixDatagram, entry: &[u8]) -> io::Result<()> {
    match socket.send(entry) {
        Ok(_) => return Ok(()),
        Err(e) if e.raw_os_error() == Some(libc::EMSGSIZE) => {}
        Err(e) => return Err(e),
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("journal-entry", flags)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(entry)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [file.as_fd()];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::NOBUFS.into());
    }
    let nothing = [IoSlice::new(&[])];
    sendmsg(socket, &nothing, &mut ancillary, SendFlags::empty())?;
    Ok(())
}

impl Sink for Journald {
    fn send(&mut self, records: &[Record]) -> io::Result<()> {
        for record in records {
            let entry = self.entry(record);
            let sent = self.connect().and_then(|socket| send(socket, &entry));
            sent.inspect_err(|_| self.socket = None)?;
        }
        Ok(())
    }

    fn wait(&self, failures: u32) -> Option<Duration> {
        Some(Duration::from_millis(100 << failures.min(7)))
    }
}
