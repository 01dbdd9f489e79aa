//! A failed build: the step's last output, the place in the Dockerfile, one line that says why.

use rctr_builder::{BuildError, Failure as BuildFailure};

use crate::failure::{Failure, GENERAL, chain};
use crate::output::build::View;

/// Prints what leads up to the error; the error itself is the failure's line.
pub fn failure(failure: &BuildFailure, view: &View) -> Failure {
    if let Some((name, lines)) = view.failed_step() {
        eprintln!("------\n > {name}:");
        for line in lines {
            eprintln!("{line}");
        }
        eprintln!("------");
    }
    if let Some((file, text, span)) = failure.place() {
        eprint!("{}", excerpt(file, text, span.start.line, span.end.line));
    }
    let message = match &*failure.error {
        BuildError::Parse(errors) => errors.to_string(),
        error => format!("failed to solve: {}", chain(error)),
    };
    Failure::new(GENERAL, format!("failed to build: {message}"))
}

/// The lines of a Dockerfile around a place, as BuildKit shows them.
fn excerpt(file: &str, text: &str, first: u32, last: u32) -> String {
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
    #[test]
    fn the_line_is_marked_among_its_neighbours() {
        let text = "FROM a\nRUN b\nRUN c\nRUN d\nRUN e\nRUN f\n";
        assert_eq!(
            super::excerpt("Dockerfile", text, 3, 3),
            "Dockerfile:3\n--------------------\n   1 |     FROM a\n   2 |     RUN b\n   3 | >>> RUN c\n   4 |     RUN d\n   5 |     RUN e\n--------------------\n"
        );
    }
}
