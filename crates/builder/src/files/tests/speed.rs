//! Counts of work rather than times: machines that test are busy.

use std::sync::Arc;
use std::time::Instant;

use super::*;

/// `cargo test --release -- --ignored --nocapture ten_thousand` shows how long it takes.
#[test]
#[ignore = "a measurement"]
fn ten_thousand_files() {
    let lab = Lab::new();
    for number in 0..10_000 {
        let path = lab.at(&format!("from/d{}/s{}", number % 20, number % 7));
        fs::create_dir_all(&path).unwrap();
        fs::write(
            path.join(format!("file-{number}.txt")),
            number.to_string().repeat(300),
        )
        .unwrap();
    }
    lab.file("from/.dockerignore", "");
    std::thread::sleep(Duration::from_millis(50));
    for (round_number, round) in ["cold", "warm", "warm", "warm"].iter().enumerate() {
        let start = Instant::now();
        let ignore = Ignore::parse("*.md\n**/node_modules\n.git\n!README.md\n").unwrap();
        let cache = Arc::new(HashCache::open(&lab.at("cache")));
        let tree = lab.context().with_cache(cache).with_ignore(ignore);
        let opened = start.elapsed();
        let selection = tree.select(&["."], &SelectOptions::default()).unwrap();
        let selected = start.elapsed();
        selection.digest().unwrap();
        let digested = start.elapsed();
        println!(
            "{round}: cache read {opened:?}, walked {:?}, digest {:?}, in all {digested:?}",
            selected - opened,
            digested - selected
        );
        let root = hostile::overlay(&lab, round_number);
        let request = CopyRequest {
            sources: &[Source::Selection(selection)],
            destination: "/app",
            destination_is_dir: true,
            chown: None,
            chmod: None,
            unpack: false,
            timestamp: None,
        };
        let start = Instant::now();
        copy(root.as_fd(), &request).unwrap();
        println!("copied to an overlay in {:?}", start.elapsed());
    }
}
