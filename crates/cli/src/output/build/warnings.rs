//! What may be wrong with a Dockerfile, after a build and instead of one.

use std::fmt::Write;

use rctr_builder::Checked;
use rctr_builder::dockerfile::Warning;

/// After a build: ` 1 warning found:` and a line for each; nothing if there are none.
pub fn summary(warnings: &[Warning]) -> String {
    if warnings.is_empty() {
        return String::new();
    }
    let mut text = format!("\n {} found:\n", counted(warnings.len()));
    for warning in warnings {
        let _ = writeln!(text, " - {warning}");
    }
    text
}

/// For `--check`: what there is in all, then each with its rule and its place.
pub fn checked(checked: &Checked) -> String {
    let warnings = &checked.lint.warnings;
    let mut text = match warnings.len() {
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        several => format!("Check complete, {several} warnings have been found!\n"),
    };
    for warning in warnings {
        let _ = write!(text, "\nWARNING: {}", warning.rule.name());
        if !warning.rule.url().is_empty() {
            let _ = write!(text, " - {}", warning.rule.url());
        }
        let (first, last) = (warning.span.start.line, warning.span.end.line);
        let _ = write!(
            text,
            "\n{}\n{}",
            warning.message,
            excerpt(&checked.name, &checked.text, first, last)
        );
    }
    text
}

fn counted(number: usize) -> String {
    match number {
        1 => "1 warning".to_owned(),
        several => format!("{several} warnings"),
    }
}

/// The lines of a Dockerfile around a place, as BuildKit shows them.
pub fn excerpt(file: &str, text: &str, first: u32, last: u32) -> String {
    const AROUND: u32 = 2;
    const RULE: &str = "--------------------";
    let mut shown = match first == last {
        true => format!("{file}:{first}\n{RULE}\n"),
        false => format!("{file}:{first}-{last}\n{RULE}\n"),
    };
    for (number, line) in (1..).zip(text.lines()) {
        if number + AROUND < first || number > last + AROUND {
            continue;
        }
        let mark = match (first..=last).contains(&number) {
            true => ">>>",
            false => "   ",
        };
        shown += format!("{number:>4} | {mark} {line}").trim_end();
        shown.push('\n');
    }
    shown + RULE + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_marked_among_its_neighbours() {
        let text = "FROM a\nRUN b\nRUN c\nRUN d\nRUN e\nRUN f\n";
        assert_eq!(
            excerpt("Dockerfile", text, 3, 3),
            "Dockerfile:3\n--------------------\n   1 |     FROM a\n   2 |     RUN b\n   3 | >>> RUN c\n   4 |     RUN d\n   5 |     RUN e\n--------------------\n"
        );
    }

    #[test]
    fn none_one_and_several() {
        assert_eq!(summary(&[]), "");
        let parsed = rctr_builder::dockerfile::parse("FROM scratch as A\n").expect("a file");
        let lint = rctr_builder::dockerfile::lint(&parsed, &Default::default());
        assert_eq!(
            summary(&lint.warnings),
            "\n 2 warnings found:\n - StageNameCasing: Stage name 'A' should be lowercase (line 1)\n \
             - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)\n"
        );
    }
}
