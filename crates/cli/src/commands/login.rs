//! `rctr login` and `rctr logout`.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use rctr_engine::login::{self, Kept, Secret, kept, registry_of};

use crate::app::App;
use crate::cli::{LoginArgs, LogoutArgs};
use crate::failure::{Failure, GENERAL, Result};
use crate::online::wait_for;
use crate::terminal::read_hidden;
use crate::usage::wrong_count;

pub fn login(app: &App, args: &LoginArgs) -> Result {
    let server = at_most_one("login", &args.servers)?;
    let registry = registry_of(server)?;
    let config = app.config()?;
    let stored = match (&args.username, &args.password, args.password_stdin) {
        (None, None, false) => kept(&registry)?,
        _ => None,
    };
    let secret = given(args)?;
    let try_it = |secret: &Secret| wait_for(login::login(&config, &registry, secret));
    if let Some(stored) = &stored {
        eprintln!(
            "Authenticating with existing credentials...{}",
            of_user(stored)
        );
        match try_it(stored) {
            Ok(_) => return succeeded(None),
            Err(failure) => {
                eprint!("Login did not succeed, error: ");
                failure.report();
            }
        }
    }
    let secret = match secret {
        Some(secret) => secret,
        None => asked(args.username.as_deref(), stored.as_ref())?,
    };
    succeeded(Some(try_it(&secret)?))
}

pub fn logout(args: &LogoutArgs) -> Result {
    let server = at_most_one("logout", &args.servers)?;
    let registry = registry_of(server)?;
    let shown = match registry.as_str() {
        "docker.io" => "https://index.docker.io/v1/",
        other => other,
    };
    writeln!(io::stdout(), "Removing login credentials for {shown}")?;
    login::logout(&registry)?;
    Ok(0)
}

fn at_most_one<'a>(command: &str, servers: &'a [String]) -> Result<Option<&'a str>> {
    match servers {
        [] => Ok(None),
        [server] => Ok(Some(server)),
        _ => Err(wrong_count(command, "requires at most 1 argument")),
    }
}

/// Name and password as far as flags and standard input say both.
fn given(args: &LoginArgs) -> Result<Option<Secret>> {
    let refuse = |message: &str| Err(Failure::new(GENERAL, message));
    if args.password.is_some() {
        eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        if args.password_stdin {
            return refuse(
                "conflicting options: cannot specify both --password and --password-stdin",
            );
        }
    }
    if args.username.as_deref() == Some("") {
        return refuse("username is empty");
    }
    if args.password.as_deref() == Some("") {
        return refuse("password is empty");
    }
    let password = match (&args.password, args.password_stdin) {
        (_, true) if args.username.is_none() => {
            return refuse("the --password-stdin option requires --username to be set");
        }
        (_, true) => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.is_empty() {
                return refuse("password is empty");
            }
            Some(text.to_owned())
        }
        (password, false) => password.clone(),
    };
    Ok(match (&args.username, password) {
        (Some(user), Some(password)) => Some(Secret::Password {
            user: user.clone(),
            password,
        }),
        (None, Some(_)) | (_, None) => {
            if !io::stdin().is_terminal() && (args.username.is_some() || args.password.is_some()) {
                return refuse("Cannot perform an interactive login from a non TTY device");
            }
            None
        }
    })
}

/// Asks for what flags have not said.
fn asked(user: Option<&str>, stored: Option<&Secret>) -> Result<Secret> {
    if !io::stdin().is_terminal() {
        let message = "Cannot perform an interactive login from a non TTY device";
        return Err(Failure::new(GENERAL, message));
    }
    let known = match stored {
        Some(Secret::Password { user, .. } | Secret::Identity { user, .. }) => user.as_str(),
        None => "",
    };
    let user = match user {
        Some(user) => user.to_owned(),
        None => {
            let hint = match known {
                "" => String::new(),
                known => format!(" ({known})"),
            };
            let typed = ask(&format!("Username{hint}: "))?;
            if typed.is_empty() {
                known.to_owned()
            } else {
                typed
            }
        }
    };
    if user.is_empty() {
        return Err(Failure::new(GENERAL, "username is empty"));
    }
    let password = read_hidden("Password: ");
    eprintln!();
    match password? {
        password if password.is_empty() => Err(Failure::new(GENERAL, "password is empty")),
        password => Ok(Secret::Password { user, password }),
    }
}

fn ask(prompt: &str) -> Result<String> {
    eprint!("{prompt}");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn of_user(secret: &Secret) -> String {
    match secret {
        Secret::Password { user, .. } => format!(" [Username: {user}]"),
        Secret::Identity { .. } => String::new(),
    }
}

fn succeeded(kept: Option<Kept>) -> Result {
    if let Some(Kept::File(file)) = kept {
        eprintln!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\n\
             Configure a credential helper to remove this warning. See\n\
             https://docs.docker.com/go/credential-store/\n",
            file.display()
        );
    }
    writeln!(io::stdout(), "Login Succeeded")?;
    Ok(0)
}
