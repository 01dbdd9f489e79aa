//! What commands print: tables, times, sizes, ports, templates, progress.

mod bars;
pub mod build;
pub mod duration;
pub mod listing;
pub mod ports;
pub mod pull;
pub mod push;
pub mod size;
pub mod table;
pub mod template;

/// The first `width - 1` characters and an ellipsis, of a text that is longer than `width`.
pub fn ellipsis(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width - 1).chain(['…']).collect(),
    }
}

/// The twelve digits that Docker shows of an id.
pub fn short_id(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(
            ellipsis("docker-entrypoint.sh redis", 20),
            "docker-entrypoint.s…"
        );
        assert_eq!(ellipsis("exactly twenty chars", 20), "exactly twenty chars");
        assert_eq!(ellipsis("", 20), "");
    }

    #[test]
    fn ids_are_shortened() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("0123"), "0123");
    }
}
