//! What the first process of a container does with a signal.
//!
//! The kernel drops a signal to the first process of a PID namespace that neither handles nor blocks it, whatever the
//! signal's default action is. A program that is told to end while it is still starting would never hear of it.

use std::fs;
use std::io::ErrorKind;

/// Whether the kernel drops a signal to this process, because it has no handler for it (yet).
pub(crate) fn drops(pid: i32, signal: i32) -> bool {
    signals_of(pid).is_some_and(|text| is_first(&text) && dropped(&text, signal))
}

/// Whether the process has a handler for the signal now.
pub(crate) fn handles(pid: i32, signal: i32) -> bool {
    signals_of(pid).is_some_and(|text| has(&text, "SigCgt:", signal))
}

/// Whether the process has ended, although its monitor may not have told yet.
pub(crate) fn has_ended(pid: i32) -> bool {
    // One that waits to be reaped has no namespaces any more.
    fs::metadata(format!("/proc/{pid}/ns/net")).is_err_and(|e| e.kind() == ErrorKind::NotFound)
}

fn signals_of(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/status")).ok()
}

/// Its number in its own PID namespace comes last.
fn is_first(status: &str) -> bool {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| {
        let mut numbers = numbers.split_whitespace();
        numbers.next_back() == Some("1") && numbers.next().is_some()
    })
}

fn dropped(status: &str, signal: i32) -> bool {
    let catchable = ![libc::SIGKILL, libc::SIGSTOP].contains(&signal);
    let masks = ["SigCgt:", "SigIgn:", "SigBlk:"];
    catchable && !masks.iter().any(|mask| has(status, mask, signal))
}

fn has(status: &str, mask: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix(mask));
    let bits = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    let bit = u32::try_from(signal - 1).ok();
    bits.zip(bit.and_then(|bit| 1u64.checked_shl(bit)))
        .is_some_and(|(bits, bit)| bits & bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(inside: &str, caught: &str, ignored: &str, blocked: &str) -> String {
        format!(
            "Name:\tx\nNSpid:\t77\t{inside}\nSigBlk:\t{blocked}\nSigIgn:\t{ignored}\nSigCgt:\t{caught}\n"
        )
    }

    #[test]
    fn only_what_nobody_takes_is_dropped() {
        let term = "0000000000004000";
        let none = "0000000000000000";
        assert!(dropped(&status("1", none, none, none), libc::SIGTERM));
        for kept in [
            status("1", term, none, none),
            status("1", none, term, none),
            status("1", none, none, term),
        ] {
            assert!(!dropped(&kept, libc::SIGTERM));
            assert!(dropped(&kept, libc::SIGINT));
        }
        assert!(!dropped(&status("1", none, none, none), libc::SIGKILL));
        assert!(has(
            &status("1", "8000000000000000", none, none),
            "SigCgt:",
            64
        ));
        assert!(!has(
            &status("1", "ffffffffffffffff", none, none),
            "SigCgt:",
            65
        ));
    }

    #[test]
    fn the_first_of_a_namespace_is_told_from_the_host_s() {
        assert!(is_first("NSpid:\t77\t1\n"));
        assert!(!is_first("NSpid:\t77\t5\n"));
        assert!(!is_first("NSpid:\t1\n"), "the host's own");
        assert!(!is_first("Name:\tx\n"));
    }
}
