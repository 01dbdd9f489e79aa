//! A container's process could reach this program's file through /proc/PID/exe while it is on its way inside
//! (CVE-2019-5736). So it is executed anew from a read-only mount of it that is attached nowhere.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{MemfdFlags, SealFlags, StatVfsMountFlags};

/// Executes this program again, unless its file cannot be written to already. Returns where that is impossible.
pub fn protect() {
    let read_only = rustix::fs::statvfs("/proc/self/exe")
        .is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY));
    if read_only || is_sealed() {
        return;
    }
    // A kernel or a user who may do neither is told by the container's other steps, if it matters.
    let mounted = rctr_runtime::open_read_only(Path::new("/proc/self/exe"));
    if let Ok(file) = mounted.or_else(|_| sealed_copy()) {
        let _ = execute(&file);
    }
}

const SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = std::fs::File::from(rustix::fs::memfd_create("rctr-oci", flags)?);
    io::copy(&mut std::fs::File::open("/proc/self/exe")?, &mut copy)?;
    rustix::fs::fcntl_add_seals(&copy, SEALS)?;
    Ok(copy.into())
}

fn is_sealed() -> bool {
    let file = std::fs::File::open("/proc/self/exe");
    let seals = file.and_then(|file| Ok(rustix::fs::fcntl_get_seals(file)?));
    seals.is_ok_and(|seals| seals.contains(SEALS))
}

fn execute(file: &OwnedFd) -> io::Result<()> {
    let strings = |list: Vec<Vec<u8>>| -> Vec<CString> {
        let string = |bytes| CString::new(bytes).unwrap_or_default();
        list.into_iter().map(string).collect()
    };
    let args = strings(std::env::args_os().map(OsStringExt::into_vec).collect());
    let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        [name.into_vec(), value.into_vec()].join(&b'=')
    };
    let env = strings(std::env::vars_os().map(variable).collect());
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        let pointers = list.iter().map(|text| text.as_ptr());
        pointers.chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&args), pointers(&env));
    // SAFETY: both arrays end with a null pointer and live until execveat returns, which it does only if it fails.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Err(io::Error::last_os_error())
}
