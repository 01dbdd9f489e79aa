//! `--ssh`: the sockets of agents, or private keys, which get an agent of their own for the time of the build.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// The agents of a build.
#[derive(Debug, Default)]
pub struct Agents {
    /// Their sockets, by id.
    pub sockets: BTreeMap<String, PathBuf>,
    own: Vec<Own>,
}

/// An agent that was started for this build alone. It ends, and removes its socket, when the shell in front of it has
/// read the end of a pipe that only this process holds: also when this process is killed.
#[derive(Debug)]
struct Own {
    shell: Child,
    held: Option<ChildStdin>,
    socket: PathBuf,
}

/// Run by ssh-agent, with its socket and process id in the environment.
const UNTIL_THE_END: &str = r#"echo "$SSH_AUTH_SOCK"; cat >/dev/null; kill "$SSH_AGENT_PID"
while [ -e "$SSH_AUTH_SOCK" ] && kill -0 "$SSH_AGENT_PID"; do sleep 0.01; done 2>/dev/null"#;

impl Agents {
    /// `default|ID[=SOCKET|KEY[,KEY…]]`; an error has the word and the reason.
    pub fn of(words: &[String]) -> Result<Agents, (String, String)> {
        let mut agents = Agents::default();
        for word in words {
            let added = agents.add(word);
            added.map_err(|reason| (word.clone(), reason))?;
        }
        Ok(agents)
    }

    fn add(&mut self, word: &str) -> Result<(), String> {
        let (id, paths) = word.split_once('=').unwrap_or((word, ""));
        let socket = match paths {
            "" => {
                let known = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
                let missing =
                    "invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set".to_owned();
                let path = PathBuf::from(known.ok_or(missing)?);
                match is_socket(&path)? {
                    true => path,
                    false => return Err(format!("{} is no socket", path.display())),
                }
            }
            one if is_socket(Path::new(one)).unwrap_or(false) => PathBuf::from(one),
            keys => {
                let own = Own::start(keys.split(','))?;
                let socket = own.socket.clone();
                self.own.push(own);
                socket
            }
        };
        self.sockets.insert(id.to_owned(), socket);
        Ok(())
    }
}

fn is_socket(path: &Path) -> Result<bool, String> {
    let meta = std::fs::metadata(path);
    let meta = meta.map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(meta.file_type().is_socket())
}

impl Own {
    /// An agent that knows these keys. One with a passphrase asks for it at the terminal.
    fn start<'k>(keys: impl Iterator<Item = &'k str>) -> Result<Own, String> {
        let keys: Vec<&str> = keys.collect();
        for key in &keys {
            if is_socket(Path::new(key))? {
                return Err("only a single socket can be given, and no keys beside it".to_owned());
            }
        }
        let mut command = Command::new("ssh-agent");
        command.args(["sh", "-c", UNTIL_THE_END]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C at the terminal is for the build, which ends it.
        command.process_group(0);
        let mut shell = command.spawn().map_err(|e| not_run("ssh-agent", &e))?;
        let mut own = Own {
            held: shell.stdin.take(),
            shell,
            socket: PathBuf::new(),
        };
        // Its socket is told when it listens.
        let mut line = String::new();
        if let Some(stdout) = own.shell.stdout.take() {
            let read = BufReader::new(stdout).read_line(&mut line);
            read.map_err(|e| not_run("ssh-agent", &e))?;
        }
        match line.trim_end() {
            "" => return Err("ssh-agent does not start".to_owned()),
            socket => own.socket = socket.into(),
        }
        let added = Command::new("ssh-add")
            .arg("-q")
            .arg("--")
            .args(keys.iter().map(OsStr::new))
            .env("SSH_AUTH_SOCK", &own.socket)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| not_run("ssh-add", &e))?;
        match added.status.success() {
            true => Ok(own),
            false => {
                let said = String::from_utf8_lossy(&added.stderr);
                let said: Vec<&str> = said.lines().map(str::trim).collect();
                Err(format!("the key cannot be used: {}", said.join(" ")))
            }
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.held.take());
        // Nothing is left to do if it cannot be waited for.
        let _ = self.shell.wait();
    }
}

fn not_run(program: &str, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => format!(
            "keys need the program {program}: install OpenSSH's client, or give the socket of an agent"
        ),
        _ => format!("{program}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gets_an_agent_that_ends_with_the_build() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "of-the-test", "-f"])
            .arg(&key)
            .status();
        if made.is_err() {
            return;
        }
        let agents = Agents::of(&[format!("default={}", key.display())]).unwrap();
        let socket = agents.sockets["default"].clone();
        let listed = Command::new("ssh-add")
            .arg("-l")
            .env("SSH_AUTH_SOCK", &socket)
            .output();
        let listed = listed.unwrap();
        assert!(String::from_utf8_lossy(&listed.stdout).contains("of-the-test"));
        drop(agents);
        assert!(!socket.exists());
        assert!(!socket.parent().unwrap().exists(), "no file is left");

        std::fs::write(&key, "no key").unwrap();
        let (word, reason) = Agents::of(&[format!("a={}", key.display())]).unwrap_err();
        assert!(
            word.starts_with("a=") && reason.contains("cannot be used"),
            "{reason}"
        );
        let missing = Agents::of(&["a=/no/such/key".to_owned()]).unwrap_err();
        assert!(missing.1.contains("/no/such/key"), "{}", missing.1);
    }
}
