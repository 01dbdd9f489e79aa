//! One file per command.

mod attach;
mod build;
mod builder;
mod check;
mod commit;
mod completion;
mod copy;
mod cp;
mod create;
mod cri;
mod df;
mod df_verbose;
mod diff;
mod events;
mod exec;
mod export;
mod history;
mod images;
mod images_tree;
mod import;
mod info;
mod inspect;
mod install_node;
mod internal;
mod kill;
mod load;
mod login;
mod logs;
mod manifest;
mod network;
mod pause;
mod port;
mod prune;
mod ps;
mod ps_filter;
mod pull;
mod push;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod stand_in;
mod start;
mod stats;
mod stop;
mod tag;
mod top;
mod update;
mod version;
mod volume;
mod wait;

use std::ffi::OsString;

use crate::app::App;
use crate::cli::{
    Command, ContainerCommand, ContainerVerb, ImageCommand, ImageVerb, InternalCommand,
    SystemCommand,
};
use crate::failure::Result;
use crate::usage;

pub use build::{BuildArgs, ProgressKind};

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
        Some(Command::OnContainers(verb)) => on_containers(&app, "", verb),
        Some(Command::OnImages(verb)) => on_images(&app, "", verb),
        Some(Command::Ps(args)) => ps::run(&app, "ps", &args),
        Some(Command::Login(args)) => login::login(&app, &args),
        Some(Command::Logout(args)) => login::logout(&args),
        Some(Command::Copy(args)) => copy::run(&app, "copy", &args),
        Some(Command::Cri(args)) => cri::run(&app, &args),
        Some(Command::Events(args)) => events::run(&app, "events", &args),
        Some(Command::Builder { command }) => builder::run(&app, command),
        Some(Command::Manifest { command }) => manifest::run(&app, *command.0),
        Some(Command::Network { command }) => network::run(&app, *command.0),
        Some(Command::Images(args)) => images::run(&app, "images", &args),
        Some(Command::Inspect(args)) => inspect::any(&app, &args),
        Some(Command::Rmi(args)) => rmi::run(&app, "rmi", &args),
        Some(Command::Info(args)) => info::run(&app, "info", &args),
        Some(Command::Version(args)) => version::run(&app, &args),
        Some(Command::Container { command }) => container(&app, *command.0),
        Some(Command::Image { command }) => image(&app, *command.0),
        Some(Command::System { command }) => system(&app, *command.0),
        Some(Command::Volume { command }) => volume::run(&app, *command.0),
        Some(Command::Completion(args)) => completion::run(&args),
        Some(Command::Internal { command }) => internal(&app, *command.0),
    }
}

fn container(app: &App, command: ContainerCommand) -> Result {
    match command {
        ContainerCommand::Verb(verb) => on_containers(app, "container ", verb),
        ContainerCommand::Ls(args) => ps::run(app, "container ls", &args),
        ContainerCommand::Inspect(args) => inspect::containers(app, &args),
        ContainerCommand::Prune(args) => prune::containers(app, &args),
    }
}

fn system(app: &App, command: SystemCommand) -> Result {
    match command {
        SystemCommand::Check(args) => check::run(app, &args),
        SystemCommand::Df(args) => df::run(app, &args),
        SystemCommand::Events(args) => events::run(app, "system events", &args),
        SystemCommand::Info(args) => info::run(app, "system info", &args),
        SystemCommand::Prune(args) => prune::system(app, &args),
        SystemCommand::InstallNode(args) => install_node::run(&args),
    }
}

fn internal(app: &App, command: InternalCommand) -> Result {
    match command {
        InternalCommand::Settle { id } => internal::settle(app, &id),
        InternalCommand::Restart { id } => internal::restart(app, &id),
        InternalCommand::Probed {
            id,
            pid,
            code,
            status,
        } => internal::probed(app, &id, pid, &code, status.as_deref()),
        InternalCommand::OutOfMemory { id, pid } => internal::out_of_memory(app, &id, pid),
        InternalCommand::StartAfterBoot => internal::start_after_boot(app),
        InternalCommand::StopForShutdown => internal::stop_for_shutdown(app),
        InternalCommand::Dns { guard } => internal::dns(app, guard),
        InternalCommand::ExecEnded { id, exec, code } => {
            internal::exec_ended(app, &id, &exec, code)
        }
        InternalCommand::Compatibility => internal::compatibility(),
        InternalCommand::LogDriver { configuration } => internal::log_driver(configuration),
        InternalCommand::Gc => internal::collect_garbage(app),
        InternalCommand::NetworkRemove => internal::network_remove(app),
        InternalCommand::Man { dir } => internal::man(&dir),
        InternalCommand::StandIn { program, args } => stand_in::run(app, &program, args),
    }
}

/// `group` is what stands before the command.
fn on_containers(app: &App, group: &str, verb: ContainerVerb) -> Result {
    let name = |verb: &str| format!("{group}{verb}");
    match verb {
        ContainerVerb::Run(args) => run::run(app, &name("run"), *args.0),
        ContainerVerb::Exec(args) => exec::run(app, &name("exec"), args),
        ContainerVerb::Commit(args) => commit::run(app, &name("commit"), &args),
        ContainerVerb::Cp(args) => cp::run(app, &name("cp"), &args),
        ContainerVerb::Diff(args) => diff::run(app, &name("diff"), &args),
        ContainerVerb::Export(args) => export::run(app, &name("export"), &args),
        ContainerVerb::Create(args) => create::run(app, &name("create"), *args.0),
        ContainerVerb::Start(args) => start::run(app, &name("start"), &args),
        ContainerVerb::Stop(args) => stop::run(app, &name("stop"), &args),
        ContainerVerb::Kill(args) => kill::run(app, &name("kill"), &args),
        ContainerVerb::Rm(args) => rm::run(app, &name("rm"), &args),
        ContainerVerb::Wait(args) => wait::run(app, &name("wait"), &args),
        ContainerVerb::Restart(args) => restart::run(app, &name("restart"), &args),
        ContainerVerb::Pause(args) => pause::pause(app, &name("pause"), &args),
        ContainerVerb::Unpause(args) => pause::unpause(app, &name("unpause"), &args),
        ContainerVerb::Logs(args) => logs::run(app, &name("logs"), &args),
        ContainerVerb::Port(args) => port::run(app, &name("port"), &args),
        ContainerVerb::Rename(args) => rename::run(app, &name("rename"), &args),
        ContainerVerb::Stats(args) => stats::run(app, &args),
        ContainerVerb::Top(args) => top::run(app, &name("top"), &args),
        ContainerVerb::Update(args) => update::run(app, &name("update"), &args),
        ContainerVerb::Attach(args) => attach::run(app, &name("attach"), &args),
    }
}

fn image(app: &App, command: ImageCommand) -> Result {
    match command {
        ImageCommand::Verb(verb) => on_images(app, "image ", verb),
        ImageCommand::Ls(args) => images::run(app, "image ls", &args),
        ImageCommand::Rm(args) => rmi::run(app, "image rm", &args),
        ImageCommand::Inspect(args) => inspect::images(app, &args),
        ImageCommand::Prune(args) => prune::images(app, &args),
    }
}

/// `group` is what stands before the command.
fn on_images(app: &App, group: &str, verb: ImageVerb) -> Result {
    let name = |verb: &str| format!("{group}{verb}");
    match verb {
        ImageVerb::Build(args) => build::run(app, &name("build"), &args.0),
        ImageVerb::History(args) => history::run(app, &name("history"), &args),
        ImageVerb::Import(args) => import::run(app, &name("import"), &args),
        ImageVerb::Load(args) => load::run(app, &name("load"), &args),
        ImageVerb::Pull(args) => pull::run(app, &name("pull"), &args),
        ImageVerb::Push(args) => push::run(app, &name("push"), &args),
        ImageVerb::Save(args) => save::run(app, &name("save"), &args),
        ImageVerb::Tag(args) => tag::run(app, &name("tag"), &args),
    }
}
