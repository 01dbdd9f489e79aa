//! Archives written by hand, so that they can be wrong in every way.

use tar::{Header, HeaderMode};

#[derive(Default)]
pub struct Archive {
    done: Vec<u8>,
    last: Option<Member>,
}

pub struct Member {
    pub header: Header,
    pub data: Vec<u8>,
    /// What the header says instead of the size of the data.
    pub size: Option<u64>,
}

impl Member {
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.header.set_mode(mode);
        self
    }

    pub fn owner(&mut self, uid: u64, gid: u64) -> &mut Self {
        self.header.set_uid(uid);
        self.header.set_gid(gid);
        self
    }

    pub fn time(&mut self, mtime: u64) -> &mut Self {
        self.header.set_mtime(mtime);
        self
    }
}

impl Archive {
    pub fn new() -> Self {
        Archive::default()
    }

    /// Any member; the name is taken as it is.
    pub fn member(mut self, name: &[u8], kind: u8, link: &[u8], data: &[u8]) -> Self {
        self.flush();
        let mut header = Header::new_gnu();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let old = header.as_old_mut();
        old.linkflag = [kind];
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..link.len()].copy_from_slice(link);
        self.last = Some(Member {
            header,
            data: data.to_vec(),
            size: None,
        });
        self
    }

    pub fn with<'a>(mut self, change: impl FnOnce(&mut Member) -> &mut Member) -> Self
    where
        Self: 'a,
    {
        change(self.last.as_mut().unwrap());
        self
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.member(name.as_bytes(), b'0', b"", data)
    }

    pub fn dir(self, name: &str) -> Self {
        self.member(name.as_bytes(), b'5', b"", b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.member(name.as_bytes(), b'2', target.as_bytes(), b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.member(name.as_bytes(), b'1', target.as_bytes(), b"")
    }

    pub fn node(self, name: &str, kind: u8, major: u32, minor: u32) -> Self {
        self.member(name.as_bytes(), kind, b"", b"").with(|m| {
            m.header.set_device_major(major).unwrap();
            m.header.set_device_minor(minor).unwrap();
            m
        })
    }

    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            data.extend(format!("{length} {key}=").bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.member(b"PaxHeaders/x", b'x', b"", &data)
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.flush();
        self.done.extend_from_slice(bytes);
        self
    }

    fn flush(&mut self) {
        if let Some(mut member) = self.last.take() {
            let size = member.size.unwrap_or(member.data.len() as u64);
            member.header.set_size(size);
            member.header.set_cksum();
            self.done.extend_from_slice(member.header.as_bytes());
            self.done.extend_from_slice(&member.data);
            let padding = member.data.len().next_multiple_of(512) - member.data.len();
            self.done.extend(std::iter::repeat_n(0, padding));
        }
    }

    /// The bytes, without an end mark.
    pub fn unfinished(mut self) -> Vec<u8> {
        self.flush();
        self.done
    }

    pub fn finish(self) -> Vec<u8> {
        let mut data = self.unfinished();
        data.extend([0; 1024]);
        data
    }

    /// What the tar crate makes of a directory.
    pub fn of_dir(path: &std::path::Path) -> Self {
        let mut builder = tar::Builder::new(Vec::new());
        builder.mode(HeaderMode::Complete);
        builder.follow_symlinks(false);
        builder.append_dir_all("", path).unwrap();
        let mut done = builder.into_inner().unwrap();
        done.truncate(done.len() - 1024);
        Archive { done, last: None }
    }
}
