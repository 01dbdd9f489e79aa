//! Flags that the parser learns only where the command line may mean them: to describe all of Docker's takes longer than
//! most commands do.

use std::cell::RefCell;
use std::ffi::OsString;

use clap::error::Error;
use clap::{ArgMatches, Args, Command, FromArgMatches, Id, Subcommand};

thread_local! {
    /// The words of the command line that is being parsed; `None`: all flags are wanted, as for a page of help.
    static LINE: RefCell<Option<Vec<OsString>>> = const { RefCell::new(None) };
}

/// What `describe` makes for a parser of this command line alone.
pub fn for_line<T>(args: &[OsString], describe: impl FnOnce() -> T) -> T {
    LINE.set(Some(args.to_vec()));
    let described = describe();
    LINE.set(None);
    described
}

/// Whether the line may mean this command. Commands with aliases do not know them yet, so they cannot be lazy.
fn is_meant(command: &Command) -> bool {
    let name = command.get_name();
    LINE.with_borrow(|line| match line {
        Some(words) => words.iter().any(|word| word == name),
        None => true,
    })
}

/// The flags or the commands of a command, left out if the line has no word like its name.
#[derive(Debug)]
pub struct Lazy<T>(pub Box<T>);

impl<T: FromArgMatches> FromArgMatches for Lazy<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(|args| Lazy(Box::new(args)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl<T: Args> Args for Lazy<T> {
    fn group_id() -> Option<Id> {
        T::group_id()
    }

    fn augment_args(command: Command) -> Command {
        match is_meant(&command) {
            true => T::augment_args(command),
            false => command,
        }
    }

    fn augment_args_for_update(command: Command) -> Command {
        T::augment_args_for_update(command)
    }
}

impl<T: Subcommand> Subcommand for Lazy<T> {
    fn augment_subcommands(command: Command) -> Command {
        match is_meant(&command) {
            true => T::augment_subcommands(command),
            false => command,
        }
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        T::augment_subcommands_for_update(command)
    }

    fn has_subcommand(name: &str) -> bool {
        T::has_subcommand(name)
    }
}
