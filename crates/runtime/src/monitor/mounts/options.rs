//! The words in `mounts[].options` of a specification, as system calls take them.

use std::ffi::CString;

/// What the options of one mount say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `MS_*` flags of mount(2).
    pub flags: libc::c_ulong,
    /// The filesystem's own options.
    pub data: Vec<String>,
    /// Flags that hold for everything mounted below as well (`rro`, `rnosuid`, …), set and cleared.
    pub recursive: (libc::c_ulong, libc::c_ulong),
    /// `MS_SHARED`, `MS_SLAVE` or `MS_PRIVATE`.
    pub propagation: Option<libc::c_ulong>,
    /// Another place of the host is shown, not a new filesystem.
    pub bind: bool,
    /// With everything mounted below it.
    pub rbind: bool,
    /// Other owners are shown than there are.
    pub idmap: bool,
    /// Also of what is mounted below.
    pub recursive_idmap: bool,
    /// A new filesystem starts with what it covers.
    pub copy_up: bool,
}

impl Options {
    pub(crate) fn parse(words: &[String]) -> Self {
        let mut options = Self::default();
        for word in words {
            options.take(word);
        }
        options
    }

    fn take(&mut self, word: &str) {
        match word {
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.rbind) = (true, true),
            "idmap" => self.idmap = true,
            "ridmap" => (self.idmap, self.recursive_idmap) = (true, true),
            "private" | "rprivate" => self.propagation = Some(libc::MS_PRIVATE),
            "slave" | "rslave" => self.propagation = Some(libc::MS_SLAVE),
            "shared" | "rshared" => self.propagation = Some(libc::MS_SHARED),
            "unbindable" | "runbindable" => self.propagation = Some(libc::MS_UNBINDABLE),
            "tmpcopyup" => self.copy_up = true,
            _ => {
                if let Some((set, flag)) = flag(word) {
                    change(&mut self.flags, set, flag);
                } else if let Some((set, flag)) = word.strip_prefix('r').and_then(flag) {
                    change(&mut self.recursive.0, set, flag);
                    change(&mut self.recursive.1, !set, flag);
                } else {
                    self.data.push(word.to_owned());
                }
            }
        }
    }

    /// The filesystem's own options as mount(2) takes them; a NUL byte in one names nothing.
    pub(crate) fn data(&self) -> CString {
        CString::new(self.data.join(",")).unwrap_or_default()
    }
}

fn change(flags: &mut libc::c_ulong, set: bool, flag: libc::c_ulong) {
    *flags = if set { *flags | flag } else { *flags & !flag };
}

/// Whether a word sets or clears a flag, and which.
fn flag(word: &str) -> Option<(bool, libc::c_ulong)> {
    Some(match word {
        "defaults" => (true, 0),
        "ro" => (true, libc::MS_RDONLY),
        "rw" => (false, libc::MS_RDONLY),
        "nosuid" => (true, libc::MS_NOSUID),
        "suid" => (false, libc::MS_NOSUID),
        "nodev" => (true, libc::MS_NODEV),
        "dev" => (false, libc::MS_NODEV),
        "noexec" => (true, libc::MS_NOEXEC),
        "exec" => (false, libc::MS_NOEXEC),
        "sync" => (true, libc::MS_SYNCHRONOUS),
        "async" => (false, libc::MS_SYNCHRONOUS),
        "dirsync" => (true, libc::MS_DIRSYNC),
        "noatime" => (true, libc::MS_NOATIME),
        "atime" => (false, libc::MS_NOATIME),
        "nodiratime" => (true, libc::MS_NODIRATIME),
        "diratime" => (false, libc::MS_NODIRATIME),
        "relatime" => (true, libc::MS_RELATIME),
        "norelatime" => (false, libc::MS_RELATIME),
        "strictatime" => (true, libc::MS_STRICTATIME),
        "nostrictatime" => (false, libc::MS_STRICTATIME),
        "nosymfollow" => (true, libc::MS_NOSYMFOLLOW),
        "symfollow" => (false, libc::MS_NOSYMFOLLOW),
        "acl" => (true, libc::MS_POSIXACL),
        "noacl" => (false, libc::MS_POSIXACL),
        "iversion" => (true, libc::MS_I_VERSION),
        "noiversion" => (false, libc::MS_I_VERSION),
        "lazytime" => (true, libc::MS_LAZYTIME),
        "nolazytime" => (false, libc::MS_LAZYTIME),
        "mand" => (true, libc::MS_MANDLOCK),
        "nomand" => (false, libc::MS_MANDLOCK),
        "silent" => (true, libc::MS_SILENT),
        "loud" => (false, libc::MS_SILENT),
        _ => return None,
    })
}

/// `MS_*` flags as `MOUNT_ATTR_*`; what is no attribute of a mount is left out.
pub(super) fn attributes(flags: libc::c_ulong) -> u64 {
    [
        (libc::MS_RDONLY, libc::MOUNT_ATTR_RDONLY),
        (libc::MS_NOSUID, libc::MOUNT_ATTR_NOSUID),
        (libc::MS_NODEV, libc::MOUNT_ATTR_NODEV),
        (libc::MS_NOEXEC, libc::MOUNT_ATTR_NOEXEC),
        (libc::MS_NOATIME, libc::MOUNT_ATTR_NOATIME),
        (libc::MS_STRICTATIME, libc::MOUNT_ATTR_STRICTATIME),
        (libc::MS_NODIRATIME, libc::MOUNT_ATTR_NODIRATIME),
        (libc::MS_NOSYMFOLLOW, libc::MOUNT_ATTR_NOSYMFOLLOW),
    ]
    .into_iter()
    .filter(|(flag, _)| flags & flag != 0)
    .fold(0, |all, (_, attribute)| all | attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Options {
        Options::parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_become_flags_and_the_rest_is_the_filesystem_s() {
        let options = parse(&["nosuid", "ro", "mode=755", "rw", "size=64k"]);
        assert_eq!(options.flags, libc::MS_NOSUID);
        assert_eq!(options.data().to_str(), Ok("mode=755,size=64k"));
        assert!(!options.bind);
    }

    #[test]
    fn a_bind_mount_s_words_reach_below_it_only_where_they_say_so() {
        let options = parse(&["rbind", "ro", "rro", "rslave", "rsize=1"]);
        assert!(options.bind && options.rbind);
        assert_eq!(options.flags, libc::MS_RDONLY);
        assert_eq!(options.recursive, (libc::MS_RDONLY, 0));
        assert_eq!(options.propagation, Some(libc::MS_SLAVE));
        assert_eq!(options.data, ["rsize=1"]);
        assert_eq!(parse(&["rro", "rrw"]).recursive, (0, libc::MS_RDONLY));
        let attributes = attributes(libc::MS_RDONLY | libc::MS_NODEV | libc::MS_RELATIME);
        assert_eq!(attributes, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV);
    }
}
