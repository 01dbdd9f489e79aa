use super::*;

/// What the kernel would see of a call.
struct Call {
    arch: u32,
    number: u32,
    arguments: [u64; 6],
}

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

/// The kernel's interpreter, as far as filters use it.
fn verdict(program: &Program, call: &Call) -> u32 {
    let mut data = [0u8; 64];
    data[0..4].copy_from_slice(&call.number.to_ne_bytes());
    data[4..8].copy_from_slice(&call.arch.to_ne_bytes());
    for (index, argument) in call.arguments.iter().enumerate() {
        data[16 + 8 * index..24 + 8 * index].copy_from_slice(&argument.to_ne_bytes());
    }
    let mut accumulator = 0u32;
    let mut position = 0;
    loop {
        let i = &program.instructions[position];
        position += 1;
        let jump = |taken: bool| if taken { i.jt as usize } else { i.jf as usize };
        match i.code {
            0x20 => {
                let at = i.k as usize;
                accumulator = u32::from_ne_bytes(data[at..at + 4].try_into().unwrap());
            }
            0x54 => accumulator &= i.k,
            0x05 => position += i.k as usize,
            0x15 => position += jump(accumulator == i.k),
            0x25 => position += jump(accumulator > i.k),
            0x35 => position += jump(accumulator >= i.k),
            0x45 => position += jump(accumulator & i.k != 0),
            0x06 => return i.k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

fn compiled(capabilities: &[Capability]) -> Program {
    let profile = default_profile(&capabilities.iter().copied().collect());
    Program::from_bytes(&compile::compile(&profile).unwrap(), 0).unwrap()
}

fn native(number: libc::c_long, first: u64) -> Call {
    Call {
        arch: X86_64,
        number: number as u32,
        arguments: [first, 0, 0, 0, 0, 0],
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_default_profile_decides_as_docker_s() {
    let program = compiled(&[]);
    let eperm = ERRNO | libc::EPERM as u32;
    let enosys = ERRNO | libc::ENOSYS as u32;
    let newns = libc::CLONE_NEWNS as u64;
    for (call, expected) in [
        (native(libc::SYS_read, 0), ALLOW),
        (native(libc::SYS_openat2, 0), ALLOW),
        (native(libc::SYS_capset, 0), ALLOW),
        (native(libc::SYS_mount, 0), eperm),
        (native(libc::SYS_unshare, newns), eperm),
        (native(libc::SYS_reboot, 0), eperm),
        (native(libc::SYS_kexec_load, 0), eperm),
        (native(libc::SYS_keyctl, 0), eperm),
        (native(libc::SYS_io_uring_setup, 0), eperm),
        (native(libc::SYS_clone, 0x11), ALLOW),
        (native(libc::SYS_clone, newns | 0x11), eperm),
        (native(libc::SYS_clone3, 0), enosys),
        (native(libc::SYS_personality, 0), ALLOW),
        (native(libc::SYS_personality, 0xffff_ffff), ALLOW),
        (native(libc::SYS_personality, 0x40000), eperm),
        (native(libc::SYS_chroot, 0), eperm),
    ] {
        let got = verdict(&program, &call);
        assert_eq!(got, expected, "call {} got {got:#x}", call.number);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn sockets_of_dangerous_families_cannot_be_made() {
    let program = compiled(&[]);
    for family in 0..64u64 {
        let forbidden = [libc::AF_ALG as u64, libc::AF_VSOCK as u64].contains(&family);
        let got = verdict(&program, &native(libc::SYS_socket, family));
        assert_eq!(got == ALLOW, !forbidden, "family {family}");
    }
    // 32-bit programs: `socket` is filtered; `socketcall` hides its arguments and makes no sockets.
    const SOCKET: u32 = 359;
    const SOCKETCALL: u32 = 102;
    let compat = |number, first| Call {
        arch: I386,
        number,
        arguments: [first, 0, 0, 0, 0, 0],
    };
    assert_eq!(verdict(&program, &compat(SOCKET, 2)), ALLOW);
    assert_ne!(
        verdict(&program, &compat(SOCKET, libc::AF_VSOCK as u64)),
        ALLOW
    );
    assert_ne!(verdict(&program, &compat(SOCKETCALL, 1)), ALLOW);
    assert_eq!(verdict(&program, &compat(SOCKETCALL, 3)), ALLOW);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn capabilities_add_their_calls() {
    let program = compiled(&[Capability::SysAdmin, Capability::SysChroot]);
    for number in [
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_clone3,
        libc::SYS_chroot,
    ] {
        assert_eq!(verdict(&program, &native(number, 0)), ALLOW);
    }
    assert_ne!(verdict(&program, &native(libc::SYS_reboot, 0)), ALLOW);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_newer_than_the_profile_do_not_exist() {
    const TOMORROW: u32 = 5_000;
    let call = |arch, number| Call {
        arch,
        number,
        arguments: [0; 6],
    };
    let enosys = ERRNO | libc::ENOSYS as u32;
    let program = compiled(&[]);
    for arch in [X86_64, I386] {
        assert_eq!(verdict(&program, &call(arch, TOMORROW)), enosys);
    }
    // Those of x32 are others, with numbers that are larger than all.
    assert_eq!(verdict(&program, &call(X86_64, 0x4000_0000)), ALLOW);

    let custom = |json: &str| {
        let profile = custom_profile(json.as_bytes(), &HashSet::new()).unwrap();
        Program::from_bytes(&compile::compile(&profile).unwrap(), 0).unwrap()
    };
    let kill = custom(
        r#"{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#,
    );
    assert_eq!(verdict(&kill, &call(X86_64, TOMORROW)), enosys);
    assert_eq!(verdict(&kill, &native(libc::SYS_read, 0)), ALLOW);
    // Where all that is not named is allowed, so is this.
    let allow = custom(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}"#,
    );
    assert_eq!(verdict(&allow, &call(X86_64, TOMORROW)), ALLOW);
}

#[test]
fn another_architecture_s_calls_are_never_taken_for_ours() {
    let program = compiled(&[]);
    let call = Call {
        arch: 0x1234_5678,
        number: libc::SYS_read as u32,
        arguments: [0; 6],
    };
    assert_ne!(verdict(&program, &call), ALLOW);
}

#[test]
fn docker_s_format_is_resolved_for_host_and_capabilities() {
    let json = br#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": []},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}}]}"#;
    let names = |capabilities: &[Capability]| -> Vec<String> {
        let profile = custom_profile(json, &capabilities.iter().copied().collect()).unwrap();
        let rules = profile.syscalls().clone().unwrap();
        rules.iter().flat_map(|rule| rule.names().clone()).collect()
    };
    assert_eq!(names(&[]), ["read", "clone3"]);
    assert_eq!(names(&[Capability::SysAdmin]), ["read", "mount"]);
    let error = custom_profile(b"{}", &HashSet::new()).unwrap_err();
    assert!(error.to_string().contains("defaultAction"), "{error}");
}

#[test]
fn a_compiled_program_is_found_again_and_works_in_the_kernel() {
    let cache = tempfile::tempdir().unwrap();
    let process = Process::default();
    let get = || program(&SeccompPolicy::Default, &process, cache.path());
    let first = get().unwrap().unwrap();
    let files: Vec<_> = fs::read_dir(cache.path()).unwrap().collect();
    assert_eq!(files.len(), 1);
    assert_eq!(get().unwrap().unwrap(), first);

    // A damaged entry is a miss.
    fs::write(files[0].as_ref().unwrap().path(), b"damaged").unwrap();
    assert_eq!(get().unwrap().unwrap(), first);

    let code = in_child(|| {
        // SAFETY: system calls on integers.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            first.load().is_ok()
                && libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0) == -1
                && *libc::__errno_location() == libc::EPERM
                && libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0) >= 0
                && libc::unshare(libc::CLONE_NEWNS) == -1
        }
    });
    assert_eq!(code, 0);
}

/// Runs something that allocates nothing in a forked child; 0 if it was true.
fn in_child(check: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child makes system calls only and ends with _exit.
    match unsafe { libc::fork() } {
        0 => {
            let code = i32::from(!check());
            // SAFETY: ends the child.
            unsafe { libc::_exit(code) }
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for our own child.
            unsafe { libc::waitpid(child, &mut status, 0) };
            assert!(libc::WIFEXITED(status), "status {status:#x}");
            libc::WEXITSTATUS(status)
        }
    }
}
