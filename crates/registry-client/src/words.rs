//! Foreign words in messages of ours: what went wrong with a connection, and what registries say.

use serde::Deserialize;

use crate::retry::Failure;

/// What a failed request means for the next one.
pub(crate) fn classify(host: String, error: &reqwest::Error) -> Failure {
    if !error.is_connect() {
        let reason = root_cause(error);
        return Failure::Broken { host, reason };
    }
    if let Some(tls) = tls_cause(error) {
        return Failure::Tls {
            host,
            reason: one_line(&tls.to_string()),
        };
    }
    let reason = if error.is_timeout() {
        "the connection timed out".to_owned()
    } else if error.is_dns() {
        "its name does not resolve; check the name, the network and /etc/resolv.conf".to_owned()
    } else {
        match root_cause(error) {
            tunnel if tunnel.starts_with("tunnel error") => {
                format!("the proxy refuses to connect ({tunnel}); check HTTPS_PROXY and NO_PROXY")
            }
            other => other,
        }
    };
    Failure::Connect { host, reason }
}

/// TLS errors hide in I/O errors, whose `source()` skips the error they wrap.
fn tls_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(|e| e.get_ref());
    match (error.downcast_ref(), wrapped) {
        (Some(tls), _) => Some(tls),
        (None, Some(inner)) => tls_cause(inner),
        (None, None) => error.source().and_then(tls_cause),
    }
}

/// The deepest cause: the outer ones repeat the URL, which may hold a signature.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    one_line(&deepest.to_string())
}

/// Foreign text made fit for an error message: one line, no control characters, not long.
pub(crate) fn one_line(text: &str) -> String {
    const MOST: usize = 200;
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The registry's own words (distribution specification, "Error Codes"), or a token server's.
pub(crate) fn error_detail(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<Entry>,
        details: Option<String>,
        error_description: Option<String>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(body) = serde_json::from_slice::<Body>(body) else {
        return String::new();
    };
    let said = body.errors.first().map(|entry| {
        if entry.message.is_empty() {
            entry.code.clone()
        } else {
            entry.message.clone()
        }
    });
    one_line(
        &said
            .or(body.details)
            .or(body.error_description)
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_tamed() {
        assert_eq!(one_line("a\n\x1b[31m  b\t"), "a [31m b");
        assert_eq!(one_line(&"x".repeat(500)).chars().count(), 201);
    }

    #[test]
    fn errors_speak_for_themselves() {
        assert_eq!(
            error_detail(br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#),
            "manifest unknown"
        );
        assert_eq!(error_detail(br#"{"errors":[{"code":"DENIED"}]}"#), "DENIED");
        assert_eq!(
            error_detail(br#"{"details":"incorrect username or password"}"#),
            "incorrect username or password"
        );
        assert_eq!(error_detail(b"<html>"), "");
    }
}
