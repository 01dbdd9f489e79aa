//! How overlayfs marks what a layer hides: with attributes that only the machine's root may set, or, in a user namespace,
//! with those that everybody may (kernel documentation, filesystems/overlayfs.rst, "userxattr").

use std::ffi::CStr;
use std::sync::OnceLock;

/// Of a directory: "y" hides what lower layers have there; "x" says that it may have whiteouts marked by `whiteout`.
pub fn opaque() -> &'static CStr {
    match in_user_namespace() {
        false => c"trusted.overlay.opaque",
        true => c"user.overlay.opaque",
    }
}

/// Of an empty regular file: it is a whiteout, made where devices cannot be.
pub(crate) fn whiteout() -> &'static CStr {
    match in_user_namespace() {
        false => c"trusted.overlay.whiteout",
        true => c"user.overlay.whiteout",
    }
}

/// Whether this is another user namespace than the machine's first, as when an ordinary user runs rctr.
pub(crate) fn in_user_namespace() -> bool {
    static NESTED: OnceLock<bool> = OnceLock::new();
    *NESTED.get_or_init(|| {
        // Lines of: first id inside, first id outside, how many.
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        map.split_ascii_whitespace()
            .nth(2)
            .is_some_and(|length| length != "4294967295")
    })
}
