//! One file per command.

mod attach;
mod completion;
mod create;
mod df;
mod exec;
mod images;
mod info;
mod inspect;
mod internal;
mod kill;
mod login;
mod logs;
mod ps;
mod ps_filter;
mod pull;
mod push;
mod rm;
mod rmi;
mod run;
mod start;
mod stop;
mod tag;
mod version;
mod wait;

use std::ffi::OsString;

use crate::app::App;
use crate::cli::{Command, ContainerCommand, ImageCommand, InternalCommand, SystemCommand};
use crate::failure::Result;
use crate::usage;

/// Runs the command that `args` name; gives the exit code.
pub fn run(args: Vec<OsString>) -> Result {
    let Some(cli) = usage::parse(&args)? else {
        return Ok(0);
    };
    if cli.global.version {
        return version::short();
    }
    let app = App::new(cli.global);
    match cli.command {
        None => completion::help(),
        Some(Command::Run(args)) => run::run(&app, "run", *args),
        Some(Command::Exec(args)) => exec::run(&app, "exec", args),
        Some(Command::Ps(args)) => ps::run(&app, "ps", &args),
        Some(Command::Pull(args)) => pull::run(&app, "pull", &args),
        Some(Command::Push(args)) => push::run(&app, "push", &args),
        Some(Command::Tag(args)) => tag::run(&app, "tag", &args),
        Some(Command::Login(args)) => login::login(&app, &args),
        Some(Command::Logout(args)) => login::logout(&args),
        Some(Command::Images(args)) => images::run(&app, "images", &args),
        Some(Command::Create(args)) => create::run(&app, "create", *args),
        Some(Command::Start(args)) => start::run(&app, "start", &args),
        Some(Command::Stop(args)) => stop::run(&app, "stop", &args),
        Some(Command::Kill(args)) => kill::run(&app, "kill", &args),
        Some(Command::Rm(args)) => rm::run(&app, "rm", &args),
        Some(Command::Wait(args)) => wait::run(&app, "wait", &args),
        Some(Command::Logs(args)) => logs::run(&app, "logs", &args),
        Some(Command::Attach(args)) => attach::run(&app, "attach", &args),
        Some(Command::Inspect(args)) => inspect::any(&app, &args),
        Some(Command::Rmi(args)) => rmi::run(&app, "rmi", &args),
        Some(Command::Info(args)) => info::run(&app, "info", &args),
        Some(Command::Version(args)) => version::run(&app, &args),
        Some(Command::Container { command }) => container(&app, command),
        Some(Command::Image { command }) => image(&app, command),
        Some(Command::System {
            command: SystemCommand::Df(args),
        }) => df::run(&app, &args),
        Some(Command::System {
            command: SystemCommand::Info(args),
        }) => info::run(&app, "system info", &args),
        Some(Command::Completion(args)) => completion::run(&args),
        Some(Command::Internal {
            command: InternalCommand::Settle { id },
        }) => internal::settle(&app, &id),
        Some(Command::Internal {
            command: InternalCommand::Gc,
        }) => internal::collect_garbage(&app),
        Some(Command::Internal {
            command: InternalCommand::NetworkRemove,
        }) => internal::network_remove(&app),
        Some(Command::Internal {
            command: InternalCommand::Man { dir },
        }) => internal::man(&dir),
    }
}

fn container(app: &App, command: ContainerCommand) -> Result {
    match command {
        ContainerCommand::Run(args) => run::run(app, "container run", *args),
        ContainerCommand::Exec(args) => exec::run(app, "container exec", args),
        ContainerCommand::Ls(args) => ps::run(app, "container ls", &args),
        ContainerCommand::Create(args) => create::run(app, "container create", *args),
        ContainerCommand::Start(args) => start::run(app, "container start", &args),
        ContainerCommand::Stop(args) => stop::run(app, "container stop", &args),
        ContainerCommand::Kill(args) => kill::run(app, "container kill", &args),
        ContainerCommand::Rm(args) => rm::run(app, "container rm", &args),
        ContainerCommand::Wait(args) => wait::run(app, "container wait", &args),
        ContainerCommand::Logs(args) => logs::run(app, "container logs", &args),
        ContainerCommand::Attach(args) => attach::run(app, "container attach", &args),
        ContainerCommand::Inspect(args) => inspect::containers(app, &args),
    }
}

fn image(app: &App, command: ImageCommand) -> Result {
    match command {
        ImageCommand::Ls(args) => images::run(app, "image ls", &args),
        ImageCommand::Pull(args) => pull::run(app, "image pull", &args),
        ImageCommand::Push(args) => push::run(app, "image push", &args),
        ImageCommand::Tag(args) => tag::run(app, "image tag", &args),
        ImageCommand::Rm(args) => rmi::run(app, "image rm", &args),
        ImageCommand::Inspect(args) => inspect::images(app, &args),
    }
}
