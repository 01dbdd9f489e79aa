//! Ids, and names for containers that were given none.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// A new container or volume id: 64 random hex digits.
pub(crate) fn new_id() -> String {
    let bytes: [u8; 32] = random().random();
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Random numbers. A static program's `rand` opens a file for its seed, and panics where no descriptor is left; the
/// kernel gives one without (getrandom(2)).
fn random() -> StdRng {
    let mut seed = [0u8; 32];
    // SAFETY: the kernel writes into a buffer of the length that is passed.
    let got = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
    match got == seed.len() as isize {
        true => StdRng::from_seed(seed),
        false => StdRng::from_rng(&mut rand::rng()),
    }
}

/// Two numbers below a limit, the lower one first.
pub(crate) fn random_pair(limit: u32) -> (u32, u32) {
    let mut rng = random();
    let high = rng.random_range(1..limit);
    (rng.random_range(0..high), high)
}

/// A name such as `peaceful_buck`; from the second attempt on with a digit behind it.
pub(crate) fn random_name(attempt: usize) -> String {
    let mut rng = random();
    let mut pick = |words: &[&'static str]| words.choose(&mut rng).copied().unwrap_or("nameless");
    let name = format!("{}_{}", pick(&ADJECTIVES), pick(&NAMES));
    match attempt {
        0 => name,
        _ => format!(
            "{name}{}",
            rng.random_range(0..10usize.saturating_pow(attempt.min(9) as u32))
        ),
    }
}

const ADJECTIVES: [&str; 100] = [
    "able", "agile", "airy", "alert", "ample", "apt", "balmy", "bold", "brave", "breezy", "bright",
    "brisk", "calm", "candid", "careful", "cheery", "clear", "clever", "cosy", "crisp", "curious",
    "daring", "deft", "dapper", "eager", "early", "earnest", "easy", "fair", "faithful", "famous",
    "fearless", "fine", "fleet", "fluent", "fond", "frank", "free", "fresh", "gentle", "gifted",
    "glad", "golden", "graceful", "grand", "handy", "happy", "hardy", "hearty", "honest", "humble",
    "jolly", "jovial", "joyful", "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow",
    "merry", "mighty", "mild", "modest", "neat", "nimble", "noble", "open", "orderly", "patient",
    "peaceful", "placid", "plucky", "polite", "prompt", "proud", "quick", "quiet", "rapid",
    "ready", "robust", "rosy", "serene", "sharp", "silent", "sincere", "smart", "snug", "sober",
    "solid", "spry", "steady", "sunny", "swift", "tidy", "trusty", "upbeat", "vivid", "witty",
];

/// Scientists, engineers and explorers.
const NAMES: [&str; 100] = [
    "abel",
    "agnesi",
    "ampere",
    "apgar",
    "babbage",
    "banach",
    "bardeen",
    "bassi",
    "becquerel",
    "bernoulli",
    "bessel",
    "blackwell",
    "boole",
    "born",
    "boyle",
    "brahe",
    "buck",
    "cannon",
    "cantor",
    "carson",
    "carver",
    "cauchy",
    "cavendish",
    "celsius",
    "chandra",
    "clarke",
    "copernicus",
    "coulomb",
    "curie",
    "cuvier",
    "dalton",
    "darwin",
    "davy",
    "dedekind",
    "descartes",
    "dijkstra",
    "dirac",
    "doppler",
    "edison",
    "einstein",
    "erdos",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "fibonacci",
    "fleming",
    "fourier",
    "franklin",
    "galileo",
    "galois",
    "gauss",
    "germain",
    "goodall",
    "haber",
    "halley",
    "hamilton",
    "hertz",
    "hilbert",
    "hooke",
    "hopper",
    "hubble",
    "humboldt",
    "huygens",
    "hypatia",
    "jacobi",
    "joule",
    "kepler",
    "khayyam",
    "klein",
    "kovalevskaya",
    "lagrange",
    "lamarr",
    "laplace",
    "leibniz",
    "linnaeus",
    "lovelace",
    "mach",
    "maxwell",
    "meitner",
    "mendel",
    "mercator",
    "mirzakhani",
    "napier",
    "newton",
    "nobel",
    "noether",
    "ohm",
    "pascal",
    "pasteur",
    "planck",
    "ramanujan",
    "riemann",
    "rutherford",
    "shannon",
    "tesla",
    "turing",
    "volta",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::parse_name;

    #[test]
    fn ids_are_64_hex_digits_and_differ() {
        let id = new_id();
        assert!(
            id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
        assert_ne!(id, new_id());
    }

    #[test]
    fn names_are_allowed_names() {
        for name in ADJECTIVES.iter().chain(&NAMES) {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase()), "{name}");
        }
        for attempt in [0, 1, 2, 30] {
            let name = random_name(attempt);
            assert_eq!(parse_name(&name).unwrap(), name);
            assert_eq!(
                name.bytes().any(|b| b.is_ascii_digit()),
                attempt > 0,
                "{name}"
            );
        }
    }
}
