//! How steps are shown.

use super::stage::Building;
use crate::dockerfile::{Instruction, InstructionKind};

/// The line that people see of an instruction.
pub(super) fn shown(building: &Building, instruction: &Instruction) -> String {
    let source = instruction.source.as_str();
    let (word, rest) = source.split_at(source.find(char::is_whitespace).unwrap_or(source.len()));
    let line = format!("{}{rest}", word.to_ascii_uppercase());
    let line = building.scope.shown(&line);
    match &instruction.kind {
        InstructionKind::Run(run) => match run.heredocs.as_slice() {
            [script] if run.is_script() => format!("{line} ({})", summary(&script.content)),
            _ => line,
        },
        _ => line,
    }
}

/// The first line of a script.
fn summary(script: &str) -> String {
    let script = script.trim();
    match script.split_once('\n') {
        Some((first, _)) => format!("{}...", first.trim_end()),
        None => script.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn scripts_are_known_by_their_first_line() {
        assert_eq!(summary("set -e\necho\n"), "set -e...");
        assert_eq!(summary("echo\n"), "echo");
        assert_eq!(summary(""), "");
    }
}
