//! Compares with another parser: `oracle < list` prints the files named on standard input whose instructions it
//! counts otherwise.

use std::io::BufRead;

use rctr_fuzz::dockerfile;

fn main() {
    let (mut same, mut refused) = (0, 0);
    for path in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        let Ok(ours) = dockerfile::parse(&text) else {
            continue;
        };
        let ours = ours.file.global_args.len()
            + ours
                .file
                .stages
                .iter()
                .map(|stage| 1 + stage.instructions.len())
                .sum::<usize>();
        match parse_dockerfile::parse(&text) {
            Ok(theirs) if theirs.instructions.len() == ours => same += 1,
            Ok(theirs) => println!("{path}: {ours} here, {} there", theirs.instructions.len()),
            Err(error) => {
                refused += 1;
                println!("{path}: {ours} here, there {error}");
            }
        }
    }
    println!("{same} the same, {refused} refused by the other");
}
