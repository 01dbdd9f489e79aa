use rustix::fs::Timespec;

use super::sparse::Segment;

/// One member of an archive, with GNU and PAX extensions applied.
#[derive(Debug)]
pub(crate) struct Member {
    /// The name, as in the archive.
    pub name: Vec<u8>,
    /// Target of a hard or symbolic link.
    pub link: Vec<u8>,
    pub kind: Kind,
    pub attributes: Attributes,
    /// Size of the data in the archive.
    pub stored: u64,
    /// Where the data goes in a sparse file.
    pub sparse: Option<Sparse>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    HardLink,
    Symlink,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// What a file has besides content.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    /// Permission, setuid, setgid and sticky bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Timespec,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug)]
pub(crate) struct Sparse {
    /// In ascending order, without overlap, within `size`; their lengths sum up to the stored size.
    pub segments: Vec<Segment>,
    /// Size of the file.
    pub size: u64,
}
