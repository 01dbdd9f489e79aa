//! How long it takes, in processor time: machines that test are busy.

use std::sync::Arc;
use std::time::Instant;

use super::*;

/// `TMPDIR=/dev/shm cargo test --release -- --ignored --nocapture ten_thousand` shows how long it takes.
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
    for (number, round) in ["cold", "warm", "warm", "warm"].iter().enumerate() {
        let start = Clock::now();
        let ignore = Ignore::parse("*.md\n**/node_modules\n.git\n!README.md\n").unwrap();
        let cache = Arc::new(HashCache::open(&lab.at("cache")));
        let tree = lab.context().with_cache(cache).with_ignore(ignore);
        println!("{round}: cache read in {start}");
        let start = Clock::now();
        let selection = tree.select(&["."], &SelectOptions::default()).unwrap();
        println!("walked in {start}");
        let start = Clock::now();
        selection.digest().unwrap();
        println!("digest in {start}");
        let root = hostile::overlay(&lab, number);
        let request = CopyRequest {
            sources: &[Source::Selection(selection)],
            destination: "/app",
            destination_is_dir: true,
            chown: None,
            chmod: None,
            unpack: false,
            timestamp: None,
        };
        let start = Clock::now();
        copy(root.as_fd(), &request).unwrap();
        println!("copied to an overlay in {start}");
    }
}

struct Clock(Instant, Duration);

impl Clock {
    fn now() -> Clock {
        Clock(Instant::now(), processor_time())
    }
}

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1?}, {:.1?} of a processor",
            self.0.elapsed(),
            processor_time() - self.1
        )
    }
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
