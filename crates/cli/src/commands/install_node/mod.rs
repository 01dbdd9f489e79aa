//! `rctr system install-node`: a node for minikube, which knows docker, containerd and CRI-O by name and no other.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::InstallNodeArgs;
use crate::failure::{ENGINE, Failure, GENERAL, Result};
use crate::usage::require_none;

const COMMAND: &str = "system install-node";

/// In every script that is ours; one without it is somebody's.
const MARK: &str = "# Made by `rctr system install-node`.";
const UNIT: &str = include_str!("rctr-node.service");
const CONF: &str = include_str!("02-crio.conf");
const CRICTL: &str = "runtime-endpoint: unix:///var/run/crio/crio.sock\n";

pub fn run(args: &InstallNodeArgs) -> Result {
    require_none(COMMAND, &args.surplus)?;
    if args.stands_for != "crio" {
        let message = format!("rctr cannot stand in for {:?}: only crio", args.stands_for);
        return Err(Failure::usage(ENGINE, COMMAND, message));
    }
    let exe =
        std::env::current_exe().map_err(|e| failed("find", Path::new("/proc/self/exe"), &e))?;
    let node = Node {
        root: args.destdir.clone().unwrap_or_else(|| "/".into()),
        bin_dir: args.bin_dir.clone(),
        rctr: exe.display().to_string(),
    };
    let made = node.install()?;
    let mut out = io::stdout();
    for path in made {
        writeln!(out, "{}", path.display())?;
    }
    if args.destdir.is_none() && Path::new("/run/systemd/system").exists() {
        systemctl(&["daemon-reload"])?;
        systemctl(&["restart", "rctr-node.service"])?;
    }
    Ok(0)
}

struct Node {
    root: PathBuf,
    bin_dir: PathBuf,
    rctr: String,
}

impl Node {
    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Writes all files; nothing if one of them is somebody else's.
    fn install(&self) -> Result<Vec<PathBuf>> {
        let programs =
            ["crio", "podman", "runc"].map(|name| (name, self.at(&self.bin_dir.join(name))));
        for (_, path) in &programs {
            refuse_strangers(path)?;
        }
        let mut made = Vec::new();
        for (name, path) in programs {
            let script = format!(
                "#!/bin/sh\n{MARK}\nexec {} internal stand-in {name} -- \"$@\"\n",
                self.rctr
            );
            put(&path, &script, 0o755)?;
            made.push(path);
        }
        let units = self.at(Path::new("/etc/systemd/system"));
        let unit = units.join("rctr-node.service");
        put(&unit, &UNIT.replace("@RCTR@", &self.rctr), 0o644)?;
        // What `systemctl enable` would do: it may not be there yet when a machine's image is made.
        for link in [
            units.join("crio.service"),
            units.join("multi-user.target.wants/rctr-node.service"),
        ] {
            point(&link, Path::new("/etc/systemd/system/rctr-node.service"))?;
            made.push(link);
        }
        made.push(unit);
        let conf = self.at(Path::new("/etc/crio/crio.conf.d/02-crio.conf"));
        // Minikube edits it in place; what it wrote there stays.
        if !conf.exists() {
            put(&conf, CONF, 0o644)?;
            made.push(conf);
        }
        let crictl = self.at(Path::new("/etc/crictl.yaml"));
        put(&crictl, CRICTL, 0o644)?;
        made.push(crictl);
        made.sort();
        Ok(made)
    }
}

fn refuse_strangers(path: &Path) -> Result<()> {
    match fs::read(path) {
        Ok(content) if String::from_utf8_lossy(&content).contains(MARK) => Ok(()),
        Ok(_) => Err(Failure::new(
            GENERAL,
            format!(
                "{} is there already and is not rctr's: move it, or choose another --bin-dir",
                path.display()
            ),
        )),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(failed("read", path, &e)),
    }
}

fn put(path: &Path, text: &str, mode: u32) -> Result<()> {
    let write = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        let temporary = path.with_extension("rctr-new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| failed("write", path, &e))
}

fn point(link: &Path, target: &Path) -> Result<()> {
    let make = || -> io::Result<()> {
        fs::create_dir_all(link.parent().unwrap_or(Path::new("/")))?;
        match fs::remove_file(link) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        symlink(target, link)
    };
    make().map_err(|e| failed("link", link, &e))
}

fn systemctl(args: &[&str]) -> Result<()> {
    let told = || format!("systemctl {}", args.join(" "));
    match Command::new("systemctl").args(args).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(GENERAL, format!("{}: {status}", told()))),
        Err(e) => Err(Failure::new(GENERAL, format!("{}: {e}", told()))),
    }
}

fn failed(action: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(GENERAL, format!("{action} {}: {error}", path.display()))
}
