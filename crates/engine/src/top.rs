//! The processes of a container, as the host's `ps` tells of them.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use rctr_runtime::cgroup::{Cgroup, CgroupDriver};
use regex::Regex;

use crate::events::ContainerEvent;
use crate::{Engine, Error, Result, settle};

/// What `ps` is asked for if nobody says.
const DEFAULT: &str = "-ef";

/// A table of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Top {
    /// Heads of the columns.
    pub titles: Vec<String>,
    /// A cell for each of them.
    pub processes: Vec<Vec<String>>,
}

impl Engine {
    /// Lists the processes of a running container with the host's `ps` and these arguments of it.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; [`Error::Ps`] for arguments that `ps` does not take or that hide the ids of processes.
    pub fn top(&self, name: &str, arguments: &str) -> Result<Top> {
        let arguments = match arguments {
            "" => DEFAULT,
            given => given,
        };
        check(arguments)?;
        let container = self.running(name)?;
        let driver = settle::driver_of(&container);
        let cgroup = Cgroup::open(driver, Path::new(&container.cgroup_path))?;
        let found = match driver {
            CgroupDriver::None => rctr_runtime::rootless::processes_beside(container.state.pid),
            _ => cgroup.processes()?,
        };
        let pids: HashSet<i32> = found.into_iter().collect();
        let top = parse(&list(arguments, &pids)?, &pids)?;
        self.tell(&container, ContainerEvent::Top)?;
        Ok(top)
    }
}

fn refused(reason: impl Into<String>) -> Error {
    Error::Ps {
        reason: reason.into(),
    }
}

/// Another column must not be called PID: it would be taken for the ids.
fn check(arguments: &str) -> Result<()> {
    let renamed = Regex::new(r"\s+(\S*)=\s*(PID\S*)").map_err(|e| refused(e.to_string()))?;
    match renamed.captures_iter(arguments).find(|c| &c[1] != "pid") {
        Some(found) => Err(refused(format!(
            "specifying \"{}={}\" is not allowed",
            &found[1], &found[2]
        ))),
        None => Ok(()),
    }
}

fn list(arguments: &str, pids: &HashSet<i32>) -> Result<String> {
    let words: Vec<OsString> = arguments.split(' ').map(OsString::from).collect();
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let only = OsString::from(format!("-q{}", pids.join(",")));
    let run = |words: &[OsString]| {
        let output = Command::new("ps").args(words).output();
        output.map_err(|e| refused(format!("ps: {e}")))
    };
    let mut output = run(&[words.clone(), vec![only]].concat())?;
    if !output.status.success() {
        // Some options cannot be used with -q; what is not the container's is left out afterwards.
        output = run(&words)?;
    }
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(refused(match said.lines().next() {
            Some(line) if !line.is_empty() => line.to_owned(),
            _ => format!("ps: {}", output.status),
        }));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn parse(text: &str, pids: &HashSet<i32>) -> Result<Top> {
    let mut lines = text.lines();
    let fields = |line: &str| -> Vec<String> {
        let words = line.split_ascii_whitespace();
        words.map(str::to_owned).collect()
    };
    let titles = fields(lines.next().unwrap_or_default());
    let position = titles.iter().position(|title| title == "PID");
    let position = position.ok_or_else(|| refused("Couldn't find PID field in ps output"))?;
    let mut processes = Vec::new();
    let mut within = false;
    for line in lines.filter(|line| !line.is_empty()) {
        let mut cells = fields(line);
        let pid = cells.get(position).map_or("", String::as_str);
        // A thread, in the line below its process.
        if pid != "-" {
            let number = pid.parse::<i32>();
            let number = number.map_err(|e| refused(format!("Unexpected pid '{pid}': {e}")))?;
            within = pids.contains(&number);
        }
        if within {
            let rest = cells.split_off(cells.len().min(titles.len() - 1));
            cells.push(rest.join(" "));
            processes.push(cells);
        }
    }
    Ok(Top { titles, processes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_s_lines_are_kept() {
        let text = "UID   PID  CMD\nroot   1  init\nroot  20  sh -c sleep 9\nroot   -  -\nroot   3  x\nroot   -  -\n";
        let top = parse(text, &HashSet::from([20])).unwrap();
        assert_eq!(top.titles, ["UID", "PID", "CMD"]);
        assert_eq!(
            top.processes,
            [vec!["root", "20", "sh -c sleep 9"], vec!["root", "-", "-"]]
        );
        assert!(parse("UID CMD\n", &HashSet::new()).is_err());
        assert!(parse("PID CMD\nx y\n", &HashSet::new()).is_err());
    }

    #[test]
    fn no_other_column_is_called_pid() {
        for good in ["-ef", "-eo pid,comm", "-o pid=PID"] {
            assert!(check(good).is_ok(), "{good}");
        }
        let error = check("-eo comm,user=PID").unwrap_err().to_string();
        assert_eq!(error, "specifying \"comm,user=PID\" is not allowed");
    }
}
