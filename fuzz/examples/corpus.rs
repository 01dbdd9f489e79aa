//! Parses every file named on standard input, a path a line: `corpus < list`. Prints, for each, its path and the
//! number of its stages and instructions, or what is wrong with it.

use std::io::BufRead;

use rctr_fuzz::dockerfile;

fn main() {
    for path in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(bytes) = std::fs::read(&path) else {
            println!("{path}\tunreadable");
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        match dockerfile::parse(&text) {
            Ok(parsed) => {
                let file = &parsed.file;
                let instructions: usize = file
                    .stages
                    .iter()
                    .map(|stage| stage.instructions.len())
                    .sum();
                let heredocs = text.matches("<<").count();
                let printed = dockerfile::print(file);
                let stable = dockerfile::parse(&printed)
                    .is_ok_and(|again| dockerfile::print(&again.file) == printed);
                let warnings = dockerfile::lint(&parsed, &dockerfile::LintOptions::default())
                    .warnings
                    .len();
                println!(
                    "{path}\tok\t{}\t{}\t{}\t{heredocs}\t{warnings}\t{}",
                    file.global_args.len(),
                    file.stages.len(),
                    instructions,
                    if stable { "stable" } else { "UNSTABLE" },
                );
            }
            Err(errors) => println!("{path}\terror\t{}", errors.errors()[0]),
        }
    }
}
