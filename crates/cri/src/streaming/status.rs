//! How the end of a command is told: on the error stream, as a `metav1.Status`.

use bytes::Bytes;
use serde_json::json;

use super::Result;
use crate::error::chain;

/// What the protocol's version makes of the error stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusForm {
    /// Nothing on success, else a sentence (v1 to v3).
    Plain,
    /// `metav1.Status` as JSON, always (v4 and later).
    Json,
}

/// What goes to the error stream for this outcome; nothing if empty.
pub(super) fn encode(outcome: &Result<i32>, form: StatusForm) -> Bytes {
    let text = match (outcome, form) {
        (Ok(0), StatusForm::Plain) => String::new(),
        (Ok(code), StatusForm::Plain) => exit_sentence(*code),
        (Err(error), StatusForm::Plain) => chain(error),
        (Ok(0), StatusForm::Json) => json!({"metadata": {}, "status": "Success"}).to_string(),
        (Ok(code), StatusForm::Json) => json!({
            "metadata": {},
            "status": "Failure",
            "message": exit_sentence(*code),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        })
        .to_string(),
        (Err(error), StatusForm::Json) => {
            let cause = chain(error);
            json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {cause}"),
                "reason": "InternalError",
                "details": {"causes": [{"message": cause}]},
                "code": 500,
            })
            .to_string()
        }
    };
    text.into()
}

fn exit_sentence(code: i32) -> String {
    format!("command terminated with non-zero exit code: exit code {code}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streaming::Error;
    use serde_json::Value;

    fn value(outcome: Result<i32>) -> Value {
        serde_json::from_slice(&encode(&outcome, StatusForm::Json)).unwrap()
    }

    #[test]
    fn success_exit_codes_and_failures_are_told_apart() {
        assert_eq!(value(Ok(0))["status"], "Success");
        let exit = value(Ok(3));
        assert_eq!(exit["reason"], "NonZeroExitCode");
        assert_eq!(exit["details"]["causes"][0]["reason"], "ExitCode");
        assert_eq!(exit["details"]["causes"][0]["message"], "3");
        let failure = value(Err(Error::PodNotReady { pod: "p".into() }));
        assert_eq!(failure["reason"], "InternalError");
        assert_eq!(failure["code"], 500);
        assert_eq!(
            failure["details"]["causes"][0]["message"],
            "pod p is not running"
        );
    }

    #[test]
    fn older_protocols_get_a_sentence_or_nothing() {
        assert!(encode(&Ok(0), StatusForm::Plain).is_empty());
        let text = encode(&Ok(3), StatusForm::Plain);
        assert!(text.ends_with(b"exit code 3"));
        let text = encode(
            &Err(Error::PodNotReady { pod: "p".into() }),
            StatusForm::Plain,
        );
        assert_eq!(&text[..], b"pod p is not running");
    }
}
