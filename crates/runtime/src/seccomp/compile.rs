//! From a profile to a BPF program, with libseccomp.

use std::fs::File;
use std::io::{Read, Seek};

use libseccomp::error::SeccompError;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use crate::error::{Error, Result};

fn failed(what: &str) -> impl FnOnce(SeccompError) -> Error {
    let what = what.to_owned();
    move |error| Error::SeccompProfile {
        reason: format!("{what}: {error}"),
    }
}

/// Compiles a profile into the instructions the kernel takes.
pub(super) fn compile(profile: &LinuxSeccomp) -> Result<Vec<u8>> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut filter = ScmpFilterContext::new(default).map_err(failed("make a filter"))?;
    // A binary search over the system call's number instead of a list.
    filter
        .set_ctl_optimize(2)
        .map_err(failed("optimise the filter"))?;
    // Who loads the program decides about new privileges.
    filter
        .set_ctl_nnp(false)
        .map_err(failed("leave no_new_privs alone"))?;
    for &arch in profile.architectures().iter().flatten() {
        filter
            .add_arch(architecture(arch))
            .map_err(failed("add an architecture"))?;
    }
    for rule in profile.syscalls().iter().flatten() {
        add_rule(&mut filter, rule, default)?;
    }
    let mut program = Vec::new();
    if answers_unknown_calls(default) {
        for &arch in architectures(profile) {
            program.extend(no_call_of_tomorrow(profile, arch));
        }
    }
    if looks_at_socket_families(profile) {
        program.extend(no_socket_by_socketcall());
    }
    program.extend(export(&filter)?);
    Ok(program)
}

/// Whether calls that a profile does not know are refused, and not as calls that do not exist.
fn answers_unknown_calls(default: ScmpAction) -> bool {
    match default {
        ScmpAction::Allow | ScmpAction::Log | ScmpAction::Trace(_) => false,
        ScmpAction::Errno(errno) => errno != libc::ENOSYS,
        _ => true,
    }
}

fn architectures(profile: &LinuxSeccomp) -> &[Arch] {
    match profile.architectures().as_deref() {
        None | Some([]) => &[super::profile::NATIVE],
        Some(list) => list,
    }
}

/// Instructions in front of a program that answer a call newer than all that the profile names as a kernel without it
/// would, as runc does: libraries then use an older one. Refused in any other way they fail.
fn no_call_of_tomorrow(profile: &LinuxSeccomp, arch: Arch) -> Vec<u8> {
    /// Calls of x32 have this bit, and otherwise look like x86-64's.
    const X32: u32 = 0x4000_0000;
    const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    // As the kernel names architectures to filters (AUDIT_ARCH_*).
    let token = match arch {
        Arch::ScmpArchX86 => 0x4000_0003,
        Arch::ScmpArchX86_64 => 0xc000_003e,
        Arch::ScmpArchArm => 0x4000_0028,
        Arch::ScmpArchAarch64 => 0xc000_00b7,
        _ => return Vec::new(),
    };
    let names = profile
        .syscalls()
        .iter()
        .flatten()
        .flat_map(|rule| rule.names());
    let numbers = names.filter_map(|name| {
        let call = ScmpSyscall::from_name_by_arch(name, architecture(arch)).ok()?;
        // Those that an architecture has not are negative.
        u32::try_from(i32::from(call)).ok()
    });
    let Some(newest) = numbers.max() else {
        return Vec::new();
    };
    instructions([
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_IF, 0, 4, token),
        (LOAD, 0, 0, NUMBER),
        (JUMP_ABOVE, 0, 2, newest),
        (JUMP_FROM, 1, 0, X32),
        (RETURN, 0, 0, REFUSE),
    ])
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_ABOVE: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const JUMP_FROM: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
// Fields of seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// Operation, how many to skip if it holds and if not, value; in the kernel's form.
fn instructions(list: impl IntoIterator<Item = (u16, u8, u8, u32)>) -> Vec<u8> {
    let bytes = |(code, skip_if, skip_unless, value): (u16, u8, u8, u32)| {
        let [low, high] = code.to_ne_bytes();
        let [a, b, c, d] = value.to_ne_bytes();
        [low, high, skip_if, skip_unless, a, b, c, d]
    };
    list.into_iter().flat_map(bytes).collect()
}

fn looks_at_socket_families(profile: &LinuxSeccomp) -> bool {
    let mut rules = profile.syscalls().iter().flatten();
    rules.any(|rule| rule.names().iter().any(|n| n == "socket") && rule.args().is_some())
}

/// Instructions in front of a program that refuse `socketcall(SYS_SOCKET, …)`. 32-bit programs can make
/// sockets by it with a family that lies in memory, out of a filter's sight, and libseccomp allows it along
/// with `socket`, whatever the conditions.
fn no_socket_by_socketcall() -> Vec<u8> {
    const I386: u32 = 0x4000_0003;
    const SOCKETCALL: u32 = 102;
    const SYS_SOCKET: u32 = 1;
    const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    instructions([
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_IF, 0, 5, I386),
        (LOAD, 0, 0, NUMBER),
        (JUMP_IF, 0, 3, SOCKETCALL),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (JUMP_IF, 0, 1, SYS_SOCKET),
        (RETURN, 0, 0, REFUSE),
    ])
}

fn add_rule(
    filter: &mut ScmpFilterContext,
    rule: &LinuxSyscall,
    default: ScmpAction,
) -> Result<()> {
    let action = action(rule.action(), rule.errno_ret())?;
    if action == default {
        return Ok(());
    }
    for name in rule.names() {
        // A call this libseccomp has never heard of cannot be made by name: the default action covers it.
        let Ok(call) = ScmpSyscall::from_name(name) else {
            continue;
        };
        let arguments: Vec<ScmpArgCompare> = rule.args().iter().flatten().map(comparison).collect();
        let adding = format!("rule for {name}");
        if repeats_an_argument(rule) {
            // libseccomp takes one comparison for each argument and rule; as in runc, several mean "or".
            for argument in arguments {
                filter
                    .add_rule_conditional(action, call, &[argument])
                    .map_err(failed(&adding))?;
            }
        } else if arguments.is_empty() {
            filter.add_rule(action, call).map_err(failed(&adding))?;
        } else {
            filter
                .add_rule_conditional(action, call, &arguments)
                .map_err(failed(&adding))?;
        }
    }
    Ok(())
}

fn repeats_an_argument(rule: &LinuxSyscall) -> bool {
    let mut indices: Vec<usize> = rule.args().iter().flatten().map(|a| a.index()).collect();
    let count = indices.len();
    indices.sort_unstable();
    indices.dedup();
    indices.len() < count
}

fn comparison(argument: &LinuxSeccompArg) -> ScmpArgCompare {
    let value = argument.value();
    let (operator, value) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, value),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, value),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, value),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, value),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, value),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, value),
        // The mask is the first value, what it must give the second.
        LinuxSeccompOperator::ScmpCmpMaskedEq => (
            ScmpCompareOp::MaskedEqual(value),
            argument.value_two().unwrap_or(0),
        ),
    };
    ScmpArgCompare::new(argument.index() as u32, operator, value)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<ScmpAction> {
    let errno = errno.unwrap_or(libc::EPERM as u32);
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            ScmpAction::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno as i32),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(errno as u16),
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActNotify => {
            return Err(Error::SeccompProfile {
                reason: "SCMP_ACT_NOTIFY needs a listener, which is not supported".to_owned(),
            });
        }
    })
}

fn architecture(arch: Arch) -> ScmpArch {
    match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}

fn export(filter: &ScmpFilterContext) -> Result<Vec<u8>> {
    let memory = rustix::fs::memfd_create("filter", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|e| Error::system("memfd_create", e))?;
    let mut file = File::from(memory);
    filter
        .export_bpf(&file)
        .map_err(failed("export the filter"))?;
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .map_err(|e| Error::system("read the filter", e))?;
    Ok(bytes)
}
