//! The `WWW-Authenticate` header (RFC 9110, section 11.6.1).

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// What a registry wants to see before it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// The best challenge offered: a token before a password.
pub(crate) fn best_challenge(headers: &HeaderMap) -> Option<Challenge> {
    let offered: Vec<Challenge> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(parse)
        .collect();
    let bearer = offered
        .iter()
        .find(|c| matches!(c, Challenge::Bearer { .. }));
    bearer.or(offered.first()).cloned()
}

/// One header line: several challenges, each a scheme followed by `name=value` pairs, all separated by commas.
fn parse(line: &str) -> Vec<Challenge> {
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for item in split_unquoted(line) {
        let item = item.trim();
        // `Bearer realm="x"` opens a challenge; `service="y"` goes on with it.
        let head = item.split('=').next().unwrap_or(item).trim_end();
        let parameter = match head.split_once(char::is_whitespace) {
            Some((scheme, _)) => {
                schemes.push((scheme.to_ascii_lowercase(), Vec::new()));
                item[scheme.len()..].trim_start()
            }
            None if !item.contains('=') => {
                schemes.push((item.to_ascii_lowercase(), Vec::new()));
                continue;
            }
            None => item,
        };
        if let (Some((name, value)), Some((_, parameters))) =
            (parameter.split_once('='), schemes.last_mut())
        {
            parameters.push((name.trim().to_ascii_lowercase(), unquote(value.trim())));
        }
    }
    schemes.into_iter().filter_map(challenge).collect()
}

fn challenge((scheme, parameters): (String, Vec<(String, String)>)) -> Option<Challenge> {
    let get = |name: &str| {
        let found = parameters.iter().find(|(n, _)| n == name);
        found.map(|(_, v)| v.clone()).filter(|v| !v.is_empty())
    };
    match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: get("realm")?,
            service: get("service"),
            scope: get("scope"),
        }),
        _ => None,
    }
}

/// Splits at commas outside quotes: a scope holds commas itself.
fn split_unquoted(line: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (i, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&line[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&line[start..]);
    parts
}

fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else {
        return value.to_owned();
    };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn quoted_commas_and_spaces() {
        assert_eq!(
            parse(
                r#"Bearer realm="https://a.io/token?x=1",service="a, b",scope="repository:x:pull,push""#
            ),
            [bearer(
                "https://a.io/token?x=1",
                Some("a, b"),
                Some("repository:x:pull,push")
            )]
        );
    }

    #[test]
    fn odd_but_legal_forms() {
        assert_eq!(
            parse(r#"bEARER  realm = "a\"b" , SERVICE=plain"#),
            [bearer("a\"b", Some("plain"), None)]
        );
        assert_eq!(parse("Basic"), [Challenge::Basic]);
        assert_eq!(
            parse(r#"Negotiate, Basic realm="x", Bearer realm="y""#),
            [Challenge::Basic, bearer("y", None, None)]
        );
        for junk in [
            "",
            ",",
            "=",
            "Bearer",
            "Bearer service=\"x\"",
            "\"",
            "Bearer realm=\"",
        ] {
            assert_eq!(parse(junk), [], "{junk}");
        }
    }

    #[test]
    fn a_token_is_preferred() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Basic realm=\"x\"".parse().unwrap());
        assert_eq!(best_challenge(&headers), Some(Challenge::Basic));
        headers.append(WWW_AUTHENTICATE, "Bearer realm=\"y\"".parse().unwrap());
        assert_eq!(best_challenge(&headers), Some(bearer("y", None, None)));
    }
}
