use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Env, Output};

/// A build context: a directory below that of an [`Env`], gone with it.
pub struct Context(String);

impl Context {
    /// The directory, as a word of a command.
    pub fn path(&self) -> &str {
        &self.0
    }

    /// The path of something in it.
    pub fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.0).join(name)
    }

    /// Writes a file in it, anew if it is there already, with the directories above it.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.file(name);
        let above = path.parent().expect("a file is in a directory");
        fs::create_dir_all(above).expect("directories");
        fs::write(path, text).expect("a file");
    }

    /// Copies a program of this machine to `dir` in it, and what it needs: `DIR/ld.so --library-path DIR DIR/PROGRAM`.
    pub fn copy_program(&self, dir: &str, program: &str) {
        let listed = Command::new("ldd").arg(program).output().expect("ldd");
        let listed = String::from_utf8(listed.stdout).expect("UTF-8");
        let libraries = listed.split_whitespace().filter(|w| w.starts_with('/'));
        fs::create_dir_all(self.file(dir)).expect("directories");
        for path in libraries.chain([program]) {
            let name = path.rsplit('/').next().expect("a name");
            let name = if name.starts_with("ld-") {
                "ld.so"
            } else {
                name
            };
            let to = self.file(dir).join(name);
            fs::copy(path, &to).unwrap_or_else(|e| panic!("copy {path}: {e}"));
        }
    }
}

impl Env {
    /// A new context with these files, by path and content.
    pub fn context(&self, files: &[(&str, &str)]) -> Context {
        let dir = tempfile::Builder::new()
            .prefix("ctx-")
            .tempdir_in(self.path(""))
            .expect("a directory")
            .keep();
        let context = Context(dir.into_os_string().into_string().expect("UTF-8"));
        for (name, text) in files {
            context.write(name, text);
        }
        context
    }

    /// A new context with nothing but this Dockerfile.
    pub fn dockerfile(&self, text: &str) -> Context {
        self.context(&[("Dockerfile", text)])
    }

    /// `rctr build FLAGS… CONTEXT`.
    pub fn build(&self, flags: &[&str], context: &Context) -> Output {
        self.rctr([&["build"], flags, &[context.path()]].concat())
    }

    /// `rctr build -q -t NAME` of a Dockerfile that needs no other file.
    ///
    /// # Panics
    /// When it fails.
    pub fn build_image(&self, name: &str, dockerfile: &str) {
        self.build(&["-q", "-t", name], &self.dockerfile(dockerfile))
            .ok();
    }
}

impl Output {
    /// Of what `build` printed: the steps that came from the cache, as they stand in the Dockerfile; bases are left out.
    pub fn cached(&self) -> Vec<String> {
        let text = self.stderr();
        let lines: Vec<&str> = text.lines().collect();
        let hits = lines
            .windows(2)
            .filter(|pair| pair[1].ends_with(" CACHED"))
            .filter_map(|pair| pair[0].split_once("] "));
        hits.map(|(_, step)| step.to_owned())
            .filter(|step| !step.starts_with("FROM"))
            .collect()
    }
}
