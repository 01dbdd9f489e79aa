//! What receivers are told of a container: its names, the tag, labels and variables that were asked for.

use std::collections::BTreeMap;

use super::About;
use crate::model::Container;
use crate::options::{LogPlan, ParseError};
use crate::time;

/// Docker's default for `tag`.
const TAG: &str = "{{.ID}}";

pub(super) fn about(container: &Container, plan: &LogPlan) -> Result<About, ParseError> {
    Ok(About {
        id: container.id.clone(),
        name: container.name.clone(),
        image: container.image_name.clone(),
        tag: tag(container, plan.option("tag").unwrap_or(TAG))?,
        attributes: attributes(container, plan)?,
        hostname: nix::unistd::gethostname().map_or_else(
            |_| "localhost".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        ),
    })
}

/// Fills in a template; only single fields are known, no functions.
fn tag(container: &Container, template: &str) -> Result<String, ParseError> {
    let short = |id: &str| {
        let bare = id.strip_prefix("sha256:").unwrap_or(id);
        bare.chars().take(12).collect::<String>()
    };
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let fail = || ParseError::LogValue {
            reason: format!(
                "invalid value for tag: {template}: fields are ID, FullID, Name, ImageID, ImageFullID, ImageName, DaemonName"
            ),
        };
        let (field, after) = after.split_once("}}").ok_or_else(fail)?;
        text += before;
        text += &match field.trim() {
            ".ID" => short(&container.id),
            ".FullID" => container.id.clone(),
            ".Name" => container.name.clone(),
            ".ImageID" => short(&container.image_id),
            ".ImageFullID" => container.image_id.clone(),
            ".ImageName" => container.image_name.clone(),
            ".DaemonName" => "rctr".to_owned(),
            _ => return Err(fail()),
        };
        rest = after;
    }
    Ok(text + rest)
}

/// Labels and variables that `labels`, `labels-regex`, `env` and `env-regex` name.
///
/// # Errors
/// [`ParseError::LogValue`] for an expression that is none.
pub(crate) fn attributes(
    container: &Container,
    plan: &LogPlan,
) -> Result<BTreeMap<String, String>, ParseError> {
    let labels = container.process.labels.iter();
    let labels: BTreeMap<&str, &str> = labels.map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let env = container.process.env.iter();
    let env: BTreeMap<&str, &str> = env.filter_map(|entry| entry.split_once('=')).collect();
    let mut found = BTreeMap::new();
    for (kind, all) in [("labels", &labels), ("env", &env)] {
        for name in plan.option(kind).unwrap_or_default().split(',') {
            if let Some(value) = all.get(name) {
                found.insert(name.to_owned(), (*value).to_owned());
            }
        }
        let Some(expression) = plan.option(&format!("{kind}-regex")) else {
            continue;
        };
        let expression = regex::Regex::new(expression).map_err(|_| ParseError::LogValue {
            reason: format!(
                "invalid value for {kind}-regex: {expression}: not a regular expression"
            ),
        })?;
        for (name, value) in all.iter().filter(|(name, _)| expression.is_match(name)) {
            found.insert((*name).to_owned(), (*value).to_owned());
        }
    }
    Ok(found)
}

/// A time as Docker's loggers write it.
pub(super) fn rfc3339(time: std::time::SystemTime) -> String {
    time::format(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::parse_log_options;
    use crate::spec::tests::container;

    #[test]
    fn tags_are_filled_in() {
        let mut container = container();
        container.image_id = format!("sha256:{}", "ab".repeat(32));
        let tag = |template: &str| tag(&container, template).map_err(|e| e.to_string());
        assert_eq!(tag("x{{.ID}}/{{ .Name }}").unwrap(), "x0123456789ab/test");
        assert_eq!(
            tag("{{.ImageName}}-{{.ImageID}}").unwrap(),
            "test-abababababab"
        );
        assert_eq!(tag("plain").unwrap(), "plain");
        assert!(tag("{{.Nope}}").unwrap_err().contains("ImageFullID"));
        assert!(tag("{{.ID").is_err());
    }

    #[test]
    fn what_was_asked_for_goes_along() {
        let mut container = container();
        container.process.labels = [("a".into(), "1".into()), ("b.x".into(), "2".into())].into();
        container.process.env = vec!["FOO=bar".into(), "PATH=/".into()];
        let options = ["labels=a", "labels-regex=^b", "env=FOO"].map(str::to_owned);
        let options = parse_log_options(&options);
        let plan = LogPlan::new("journald", &options, (0, 1)).unwrap();
        let found = attributes(&container, &plan).unwrap();
        let expected = [("FOO", "bar"), ("a", "1"), ("b.x", "2")];
        assert_eq!(found, expected.map(|(k, v)| (k.into(), v.into())).into());
    }
}
