//! How a command fails: what is printed, and the exit code.

use std::io;
use std::process::ExitCode;

pub use rctr_engine::chain;
use rctr_engine::options::ParseError;

/// Exit code of a usage error, and of an engine error in `run`.
pub const ENGINE: u8 = 125;
/// Exit code of most errors.
pub const GENERAL: u8 = 1;
/// Exit code of a template that cannot be used with `inspect`.
pub const TEMPLATE: u8 = 64;

/// A command that failed.
#[derive(Debug)]
pub struct Failure {
    /// Printed after `rctr: `, if there is something left to say.
    message: Option<String>,
    /// Lines printed below as they are.
    advice: Option<String>,
    code: u8,
}

/// The exit code for a value that makes no sense: what Docker's engine finds is the engine's error.
pub fn bad_value(command: &str, error: &ParseError) -> u8 {
    match command.rsplit(' ').next() {
        Some("run") => ENGINE,
        _ if error.found_by_engine() => GENERAL,
        _ => ENGINE,
    }
}

/// What a command gives: its exit code, or how it failed.
pub type Result<T = u8> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure with a message.
    pub fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure {
            message: Some(message.into()),
            advice: None,
            code,
        }
    }

    /// A failure that has been reported already, or needs no word.
    pub fn silent(code: u8) -> Failure {
        Failure {
            message: None,
            advice: None,
            code,
        }
    }

    /// A usage error of a command (`run`, `image ls`), which points to its help.
    pub fn usage(code: u8, command: &str, message: impl Into<String>) -> Failure {
        let advice = match command {
            "" => "See 'rctr --help'.".to_owned(),
            command => format!("See 'rctr {command} --help'."),
        };
        Failure {
            message: Some(message.into()),
            advice: Some(advice),
            code,
        }
    }

    /// A flag's value that makes no sense; `flag` is written as in Docker's help: `-p, --publish`.
    pub fn argument(command: &str, value: &str, flag: &str, error: &ParseError) -> Failure {
        let message = format!(
            "invalid argument {value:?} for {flag:?} flag: {}",
            chain(error)
        );
        Failure::usage(bad_value(command, error), command, message)
    }

    /// An engine error with the exit code that `run` gives it.
    pub fn of_run(error: &rctr_engine::Error) -> Failure {
        Failure {
            code: error.exit_code(),
            ..Failure::from_ref(error)
        }
    }

    /// An engine error from a command where only 126 and 127 mean something of their own. A user that the container
    /// does not know is found out as late as a command that it cannot execute.
    pub fn of_exec(error: &rctr_engine::Error) -> Failure {
        let code = match error {
            rctr_engine::Error::User(_) => Some(126),
            rctr_engine::Error::Invalid(ParseError::WorkingDir { .. }) => Some(126),
            _ => Some(error.exit_code()).filter(|code| matches!(code, 126 | 127)),
        };
        Failure {
            code: code.unwrap_or(GENERAL),
            ..Failure::from_ref(error)
        }
    }

    /// The same failure inside `run`, where what is usually 1 is 125.
    pub fn inside_run(self) -> Failure {
        match self.code {
            GENERAL => Failure {
                code: ENGINE,
                ..self
            },
            _ => self,
        }
    }

    fn from_ref(error: &rctr_engine::Error) -> Failure {
        let advice = error.hint().map(|hint| format!("hint: {hint}"));
        Failure {
            message: Some(chain(error)),
            advice,
            code: match error {
                rctr_engine::Error::Config { .. } => ENGINE,
                _ => GENERAL,
            },
        }
    }

    /// Prints it and gives the exit code.
    pub fn report(&self) -> ExitCode {
        if let Some(message) = &self.message {
            eprintln!("rctr: {message}");
        }
        if let Some(advice) = &self.advice {
            eprintln!("{advice}");
        }
        ExitCode::from(self.code)
    }

    #[cfg(test)]
    pub fn code(&self) -> u8 {
        self.code
    }

    #[cfg(test)]
    pub fn text(&self) -> String {
        [&self.message, &self.advice]
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl From<rctr_engine::Error> for Failure {
    fn from(error: rctr_engine::Error) -> Failure {
        Failure::from_ref(&error)
    }
}

/// Output that cannot be written: quiet when its reader is gone.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::silent(128 + libc::SIGPIPE as u8),
            _ => Failure::new(GENERAL, format!("write: {error}")),
        }
    }
}

/// Does the same to every name: prints each failure, goes on, and fails at the end if one did.
pub fn for_each(names: &[String], mut action: impl FnMut(&str) -> Result<()>) -> Result {
    let mut failed = false;
    for name in names {
        if let Err(failure) = action(name) {
            failure.report();
            failed = true;
        }
    }
    if failed {
        Err(Failure::silent(GENERAL))
    } else {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_joined_and_not_repeated() {
        let inner = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let error = ParseError::File {
            file: "/x".into(),
            source: inner,
        };
        assert_eq!(chain(&error), "open /x: no such file");
    }

    #[test]
    fn a_bad_value_names_flag_value_and_help() {
        let error = ParseError::Size { value: "5x".into() };
        let failure = Failure::argument("run", "5x", "-m, --memory", &error);
        assert_eq!(
            failure.text(),
            "invalid argument \"5x\" for \"-m, --memory\" flag: invalid size: '5x'\nSee 'rctr run --help'."
        );
        assert_eq!(failure.code(), 125);
    }

    #[test]
    fn what_the_engine_finds_is_another_code_than_a_bad_flag() {
        let found = ParseError::WorkingDir { path: "x".into() };
        let flag = ParseError::Size { value: "5x".into() };
        for (command, engine) in [("run", 125), ("container run", 125), ("create", 1)] {
            assert_eq!(bad_value(command, &found), engine, "{command}");
            assert_eq!(bad_value(command, &flag), 125, "{command}");
        }
    }

    #[test]
    fn a_lost_reader_is_no_message() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.text().as_str(), failure.code()), ("", 141));
    }

    #[test]
    fn all_names_are_tried() {
        let mut seen = Vec::new();
        let names = ["a".to_owned(), "b".to_owned()];
        let result = for_each(&names, |name| {
            seen.push(name.to_owned());
            Err(Failure::silent(3))
        });
        assert_eq!(seen, names);
        assert_eq!(result.unwrap_err().code(), 1);
    }
}
