//! `kill`, `delete`, `pause`, `resume`.

use nix::sys::signal::Signal;
use rctr_runtime::Error;
use rctr_runtime::oci::{Container, remove_unfinished};

use super::{load, root};
use crate::cli::{Delete, Global, Kill};
use crate::failure::Failure;
use crate::log::Log;

pub fn kill(global: &Global, args: &Kill) -> Result<u8, Failure> {
    let signal = signal(&args.signal)
        .ok_or_else(|| Failure::Usage(format!("unknown signal {:?}", args.signal)))?;
    load(global, &args.id.id)?.kill(signal, args.all)?;
    Ok(0)
}

/// By number or by name, with or without `SIG`. 0 only asks whether there is somebody to signal.
fn signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=64).contains(&number).then_some(number);
    }
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let real_time = |prefix: &str| name.strip_prefix(prefix)?.parse::<i32>().ok();
    let number = match name {
        "RTMIN" => first,
        "RTMAX" => last,
        _ => match (real_time("RTMIN+"), real_time("RTMAX-")) {
            (Some(offset), _) => first.checked_add(offset)?,
            (_, Some(offset)) => last.checked_sub(offset)?,
            _ => return Some(format!("SIG{name}").parse::<Signal>().ok()? as i32),
        },
    };
    (first..=last).contains(&number).then_some(number)
}

pub fn delete(global: &Global, args: &Delete, log: &Log) -> Result<u8, Failure> {
    let root = root(global);
    let id = &args.id.id;
    match Container::load(&root, id) {
        Ok(container) => log.warnings(&container.delete(args.force)?),
        Err(Error::NoSuchContainer { .. }) if args.force => remove_unfinished(&root, id)?,
        Err(error) => return Err(error.into()),
    }
    Ok(0)
}

pub fn pause(global: &Global, id: &str) -> Result<u8, Failure> {
    load(global, id)?.pause()?;
    Ok(0)
}

pub fn resume(global: &Global, id: &str) -> Result<u8, Failure> {
    load(global, id)?.resume()?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_go_by_number_or_name() {
        assert_eq!(signal("9"), Some(9));
        assert_eq!(signal("KILL"), Some(9));
        assert_eq!(signal("sigterm"), Some(15));
        assert_eq!(signal("SIGRTMIN+3"), Some(37));
        assert_eq!(signal("RTMAX"), Some(64));
        assert_eq!(signal("0"), Some(0));
        for bad in [
            "65",
            "-1",
            "SIGNOSUCH",
            "RTMIN+99",
            "RTMIN+2147483647",
            "RTMAX--2147483648",
            "",
        ] {
            assert_eq!(signal(bad), None, "{bad}");
        }
    }
}
