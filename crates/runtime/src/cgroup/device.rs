//! Device rules on cgroup v2, where they are a small BPF program instead of a file.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::Cgroup;
use crate::error::{Error, Result};

/// One eBPF instruction: opcode, destination and source register, jump offset, immediate value.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

// Registers: 1 is the context, 0 the result; ours are 2 type, 3 access, 4 major, 5 minor, 6 scratch.
const fn load(register: u8, offset: i16) -> Instruction {
    Instruction {
        code: 0x61,
        registers: register | 1 << 4,
        offset,
        immediate: 0,
    }
}

const fn operate(code: u8, register: u8, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: register,
        offset: 0,
        immediate,
    }
}

const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const SET: u8 = 0xb4;
const COPY: u8 = 0xbc;
const EXIT: Instruction = operate(0x95, 0, 0);
const JUMP_IF_DIFFERENT: u8 = 0x56;

/// The program for a list of rules, of which the last that applies decides; nothing is allowed without one.
fn program(rules: &[LinuxDeviceCgroup]) -> Vec<Instruction> {
    let mut program = vec![
        load(2, 0),
        operate(AND, 2, 0xffff),
        load(3, 0),
        operate(SHIFT_RIGHT, 3, 16),
        load(4, 4),
        load(5, 8),
    ];
    // Backwards, so that the first to apply decides.
    for rule in rules.iter().rev() {
        let block = rule_block(rule);
        let unconditional = block.len() == 2;
        program.extend(block);
        if unconditional {
            // The kernel refuses instructions that cannot be reached.
            return program;
        }
    }
    program.extend(answer(false));
    program
}

fn answer(allow: bool) -> [Instruction; 2] {
    [operate(SET, 0, i32::from(allow)), EXIT]
}

/// Answers if the rule applies, else falls through to its end.
fn rule_block(rule: &LinuxDeviceCgroup) -> Vec<Instruction> {
    const BLOCK_DEVICE: i32 = 1;
    const CHARACTER_DEVICE: i32 = 2;
    let mut tests = Vec::new();
    let mut require = |register, value| {
        tests.push(operate(JUMP_IF_DIFFERENT, register, value));
    };
    match rule.typ().unwrap_or(LinuxDeviceType::A) {
        LinuxDeviceType::B => require(2, BLOCK_DEVICE),
        LinuxDeviceType::C | LinuxDeviceType::U => require(2, CHARACTER_DEVICE),
        LinuxDeviceType::A | LinuxDeviceType::P => {}
    }
    if let Some(major) = rule.major().filter(|&m| m >= 0) {
        require(4, major as i32);
    }
    if let Some(minor) = rule.minor().filter(|&m| m >= 0) {
        require(5, minor as i32);
    }
    let others = !access_bits(rule.access().as_deref().unwrap_or("rwm")) & 0b111;
    if others != 0 {
        // An allowing rule applies if nothing else is asked for, a denying one if anything of its is.
        let copy = Instruction {
            code: COPY,
            registers: 6 | 3 << 4,
            offset: 0,
            immediate: 0,
        };
        let (mask, code) = if rule.allow() {
            (others, JUMP_IF_DIFFERENT)
        } else {
            (!others & 0b111, 0x16)
        };
        tests.push(copy);
        tests.push(operate(AND, 6, mask));
        tests.push(operate(code, 6, 0));
    }
    let length = tests.len() + 2;
    let mut block = Vec::with_capacity(length);
    for (index, mut test) in tests.into_iter().enumerate() {
        if matches!(test.code, JUMP_IF_DIFFERENT | 0x16) {
            test.offset = (length - index - 1) as i16;
        }
        block.push(test);
    }
    block.extend(answer(rule.allow()));
    block
}

fn access_bits(access: &str) -> i32 {
    access.chars().fold(0, |bits, c| {
        bits | match c {
            'm' => 1,
            'r' => 2,
            'w' => 4,
            _ => 0,
        }
    })
}

/// Puts the processes of a v2 cgroup under device rules.
///
/// # Errors
/// [`Error::System`] if the kernel has no such filters or refuses this one.
pub(crate) fn attach_device_filter(cgroup: &Cgroup, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let Some(path) = cgroup.directory("devices") else {
        return Ok(());
    };
    let directory = File::open(&path).map_err(|e| Error::file("open", &path, e))?;
    let filter =
        load_program(&program(rules)).map_err(|e| Error::system("load device rules", e))?;
    attach(&directory, &filter).map_err(|e| Error::system("attach device rules", e))
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

fn load_program(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        program_type: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buffer: u64,
        kernel_version: u32,
        flags: u32,
    }
    let attributes = Load {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads the attributes and what they point to, which live until the call returns.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw const attributes,
            size_of::<Load>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn attach(directory: &File, filter: &OwnedFd) -> io::Result<()> {
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        attach_type: u32,
        flags: u32,
    }
    let attributes = Attach {
        target: directory.as_raw_fd() as u32,
        program: filter.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the kernel reads the attributes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_ATTACH,
            &raw const attributes,
            size_of::<Attach>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defaults;
    use oci_spec::runtime::LinuxDeviceCgroupBuilder;

    /// What the kernel would make of the program: may this device be used so?
    fn allows(program: &[Instruction], kind: u32, access: i32, major: u32, minor: u32) -> bool {
        let context = [kind | (access as u32) << 16, major, minor];
        let mut registers = [0u32; 7];
        let mut position = 0;
        loop {
            let i = program[position];
            position += 1;
            let register = (i.registers & 0xf) as usize;
            let source = (i.registers >> 4) as usize;
            match i.code {
                0x61 => registers[register] = context[i.offset as usize / 4],
                AND => registers[register] &= i.immediate as u32,
                SHIFT_RIGHT => registers[register] >>= i.immediate,
                SET => registers[register] = i.immediate as u32,
                COPY => registers[register] = registers[source],
                JUMP_IF_DIFFERENT if registers[register] != i.immediate as u32 => {
                    position += i.offset as usize;
                }
                0x16 if registers[register] == i.immediate as u32 => position += i.offset as usize,
                JUMP_IF_DIFFERENT | 0x16 => {}
                0x95 => return registers[0] == 1,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    const BLOCK: u32 = 1;
    const CHAR: u32 = 2;

    #[test]
    fn docker_s_rules_allow_null_and_deny_disks() {
        let program = program(&defaults::device_rules());
        let rw = access_bits("rw");
        assert!(allows(&program, CHAR, rw, 1, 3));
        assert!(allows(&program, CHAR, rw, 136, 7));
        assert!(!allows(&program, BLOCK, rw, 8, 0));
        assert!(allows(&program, BLOCK, access_bits("m"), 8, 0));
        assert!(!allows(&program, CHAR, rw, 10, 229));
    }

    #[test]
    fn the_last_rule_that_applies_decides() {
        let rule = |allow, access: &str| {
            let builder = LinuxDeviceCgroupBuilder::default();
            builder.allow(allow).access(access).build().unwrap()
        };
        let all = program(&[rule(false, "rwm"), rule(true, "rwm")]);
        assert!(allows(&all, BLOCK, access_bits("rwm"), 8, 0));
        // Nothing follows the unconditional rule, or the kernel would refuse the program.
        assert_eq!(all.len(), 8);

        let no_write = program(&[rule(true, "rwm"), rule(false, "w")]);
        assert!(allows(&no_write, BLOCK, access_bits("r"), 8, 0));
        assert!(!allows(&no_write, BLOCK, access_bits("rw"), 8, 0));
    }

    #[test]
    fn the_kernel_takes_the_programs() {
        for rules in [defaults::device_rules(), vec![]] {
            match load_program(&program(&rules)) {
                Ok(_) => {}
                // Without CAP_BPF, or in a kernel without cgroup filters, there is nothing to test.
                Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => return,
                Err(e) => panic!("{e}"),
            }
        }
    }
}
