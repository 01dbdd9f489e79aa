//! The smaller flags: ulimits, security options, hosts, platforms, networks.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{
    AddHost, AttachTo, LimitError, NetworkFlagError, NetworkMode, ParseError, PullPolicy,
    SeccompChoice, SecurityOptions, Ulimit,
};

/// The resource limits that `--ulimit` knows.
pub(crate) const ULIMIT_NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl FromStr for Ulimit {
    type Err = ParseError;

    /// Reads `name=soft[:hard]`; -1 is unlimited, one value stands for both.
    fn from_str(text: &str) -> Result<Ulimit, ParseError> {
        let fail = || LimitError::Ulimit {
            value: text.to_owned(),
        };
        let (name, limits) = text.split_once('=').ok_or_else(fail)?;
        if !ULIMIT_NAMES.contains(&name) {
            return Err(LimitError::UlimitName {
                name: name.to_owned(),
            }
            .into());
        }
        let number = |s: &str| match s {
            "unlimited" => Ok(-1),
            _ => s.parse::<i64>().ok().filter(|n| *n >= -1).ok_or_else(fail),
        };
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if hard != -1 && (soft == -1 || soft > hard) {
            return Err(LimitError::UlimitOrder { soft, hard }.into());
        }
        Ok(Ulimit {
            name: name.to_owned(),
            soft,
            hard,
        })
    }
}

impl SecurityOptions {
    /// Reads every `--security-opt`; the file that `seccomp=FILE` names is read now.
    ///
    /// # Errors
    /// [`ParseError::SecurityOpt`], [`ParseError::File`] or [`ParseError::SeccompProfile`].
    pub fn parse<S: AsRef<str>>(values: &[S]) -> Result<SecurityOptions, ParseError> {
        let mut options = SecurityOptions::default();
        for value in values {
            options.add(value.as_ref())?;
        }
        Ok(options)
    }

    fn add(&mut self, text: &str) -> Result<(), ParseError> {
        let fail = || ParseError::SecurityOpt {
            value: text.to_owned(),
        };
        // `name:value` is Docker's older way of writing it.
        let (name, value) = match text.split_once('=').or_else(|| text.split_once(':')) {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        match (name, value) {
            ("no-new-privileges", None | Some("true" | "1")) => self.no_new_privileges = true,
            ("no-new-privileges", Some("false" | "0")) => self.no_new_privileges = false,
            ("seccomp", Some("unconfined")) => self.seccomp = SeccompChoice::Unconfined,
            ("seccomp", Some("builtin")) => self.seccomp = SeccompChoice::Default,
            ("seccomp", Some(file)) if !file.is_empty() => {
                self.seccomp = read_profile(Path::new(file))?
            }
            ("apparmor", Some(profile)) if !profile.is_empty() => {
                self.apparmor = Some(profile.to_owned())
            }
            ("systempaths", Some("unconfined")) => self.systempaths_unconfined = true,
            ("writable-cgroups", None | Some("true" | "1")) => self.writable_cgroups = true,
            ("writable-cgroups", Some("false" | "0")) => self.writable_cgroups = false,
            ("label", Some("disable")) => self.selinux.disable = true,
            ("label", Some(label)) => self.selinux.set(label).ok_or_else(fail)?,
            _ => return Err(fail()),
        }
        self.raw.push(text.to_owned());
        Ok(())
    }
}

fn read_profile(file: &Path) -> Result<SeccompChoice, ParseError> {
    let file = PathBuf::from(file);
    let text = std::fs::read_to_string(&file).map_err(|source| ParseError::File {
        file: file.clone(),
        source,
    })?;
    let capabilities = rctr_runtime::defaults::capabilities();
    match rctr_runtime::seccomp::custom_profile(text.as_bytes(), &capabilities) {
        Ok(_) => Ok(SeccompChoice::Profile(text)),
        Err(e) => Err(ParseError::SeccompProfile {
            file,
            reason: e.to_string(),
        }),
    }
}

impl FromStr for AddHost {
    type Err = ParseError;

    /// Reads `name:address` or `name=address`; the address may be `host-gateway`, an IPv6 address may stand in
    /// brackets.
    fn from_str(text: &str) -> Result<AddHost, ParseError> {
        let fail = || ParseError::AddHost {
            value: text.to_owned(),
        };
        let (name, address) = text
            .split_once('=')
            .or_else(|| text.split_once(':'))
            .ok_or_else(fail)?;
        if name.is_empty()
            || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#')
        {
            return Err(fail());
        }
        let bare = address
            .strip_prefix('[')
            .and_then(|a| a.strip_suffix(']'))
            .unwrap_or(address);
        let address = match bare {
            "host-gateway" => None,
            _ => Some(bare.parse().map_err(|_| ParseError::AddHostAddress {
                value: address.to_owned(),
            })?),
        };
        Ok(AddHost {
            name: name.to_owned(),
            address,
        })
    }
}

impl FromStr for NetworkMode {
    type Err = ParseError;

    /// Reads `bridge` (or `default`), `none`, `host` or `container:NAME`.
    fn from_str(text: &str) -> Result<NetworkMode, ParseError> {
        match text {
            "bridge" | "default" | "" => Ok(NetworkMode::Bridge),
            "none" => Ok(NetworkMode::None),
            "host" => Ok(NetworkMode::Host),
            _ => match text.strip_prefix("container:") {
                Some("") => Err(NetworkFlagError::Container.into()),
                Some(name) => Ok(NetworkMode::Container(name.to_owned())),
                None => Ok(NetworkMode::User(text.to_owned())),
            },
        }
    }
}

impl FromStr for AttachTo {
    type Err = ParseError;

    /// Reads `stdin`, `stdout` or `stderr`, in either case.
    fn from_str(text: &str) -> Result<AttachTo, ParseError> {
        let mut streams = AttachTo::default();
        match text.to_ascii_lowercase().as_str() {
            "stdin" => streams.stdin = true,
            "stdout" => streams.stdout = true,
            "stderr" => streams.stderr = true,
            _ => return Err(ParseError::AttachStream),
        }
        Ok(streams)
    }
}

/// `--annotation NAME=VALUE`.
///
/// # Errors
/// [`ParseError::Annotation`] with the text.
pub fn parse_annotation(text: &str) -> Result<(String, String), ParseError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(ParseError::Annotation {
            value: text.to_owned(),
        }),
    }
}

/// `--isolation`, which has one value on Linux.
///
/// # Errors
/// [`ParseError::Isolation`] with the text.
pub fn check_isolation(text: &str) -> Result<(), ParseError> {
    match text {
        "" | "default" => Ok(()),
        _ => Err(ParseError::Isolation { value: text.into() }),
    }
}

/// `--uts`; whether it is the host's.
///
/// # Errors
/// [`ParseError::NamespaceMode`].
pub fn parse_uts(text: &str) -> Result<bool, ParseError> {
    match text {
        "" => Ok(false),
        "host" => Ok(true),
        _ => Err(ParseError::NamespaceMode {
            flag: "uts",
            kind: "UTS",
        }),
    }
}

/// `--storage-opt size=…`, in bytes.
///
/// # Errors
/// [`ParseError::StorageOption`], [`ParseError::Size`].
pub fn parse_storage_option(text: &str) -> Result<u64, ParseError> {
    match text.split_once('=') {
        Some(("size", size)) => super::parse_size(size),
        _ => Err(ParseError::StorageOption { value: text.into() }),
    }
}

impl FromStr for PullPolicy {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<PullPolicy, ParseError> {
        match text {
            "always" => Ok(PullPolicy::Always),
            "missing" | "" => Ok(PullPolicy::Missing),
            "never" => Ok(PullPolicy::Never),
            _ => Err(ParseError::Pull {
                value: text.to_owned(),
            }),
        }
    }
}

/// Normalises `--platform`: `os`, `arch`, `os/arch` or `os/arch/variant`, with the usual other names of
/// architectures. Gives `os/arch[/variant]`.
///
/// # Errors
/// [`ParseError::Platform`] with the text.
pub fn parse_platform(text: &str) -> Result<String, ParseError> {
    let fail = || ParseError::Platform {
        value: text.to_owned(),
    };
    let lower = text.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split('/').collect();
    let word = |p: &str| {
        !p.is_empty()
            && p.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    if !parts.iter().all(|p| word(p)) {
        return Err(fail());
    }
    let host_arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let (os, arch, variant) = match parts[..] {
        [os @ ("linux" | "windows" | "darwin" | "freebsd")] => (os, host_arch, ""),
        [arch] => ("linux", arch, ""),
        [
            arch @ ("arm" | "arm64" | "aarch64" | "amd64" | "x86_64"),
            variant,
        ] if variant.starts_with('v') => ("linux", arch, variant),
        [os, arch] => (os, arch, ""),
        [os, arch, variant] => (os, arch, variant),
        _ => return Err(fail()),
    };
    let (arch, variant) = match (arch, variant) {
        ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
        ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64", ""),
        ("aarch64" | "arm64", v) => ("arm64", v),
        ("armhf", "") | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", "") | ("arm", "6") => ("arm", "v6"),
        ("i386" | "i486" | "i586" | "i686", v) => ("386", v),
        other => other,
    };
    match arch {
        "amd64" | "386" | "arm" | "arm64" | "ppc64le" | "s390x" | "riscv64" | "mips64le"
        | "mips64" | "mips" | "mipsle" | "ppc64" | "loong64" | "wasm" => {}
        _ => return Err(fail()),
    }
    Ok(if variant.is_empty() {
        format!("{os}/{arch}")
    } else {
        format!("{os}/{arch}/{variant}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits() {
        let parse = |text: &str| text.parse::<Ulimit>().map(|u| (u.name, u.soft, u.hard));
        assert_eq!(
            parse("nofile=1024:2048").unwrap(),
            ("nofile".into(), 1024, 2048)
        );
        assert_eq!(parse("core=0").unwrap(), ("core".into(), 0, 0));
        assert_eq!(parse("memlock=-1:-1").unwrap(), ("memlock".into(), -1, -1));
        assert_eq!(parse("nproc=5:unlimited").unwrap(), ("nproc".into(), 5, -1));
        for name in ULIMIT_NAMES {
            parse(&format!("{name}=1")).unwrap();
        }
        for (text, message) in [
            ("nofile", "invalid ulimit argument: nofile"),
            ("foo=1", "invalid ulimit type: foo"),
            ("nofile=a", "invalid ulimit argument: nofile=a"),
            ("nofile=1:2:3", "invalid ulimit argument: nofile=1:2:3"),
            (
                "nofile=10:5",
                "ulimit soft limit must be less than or equal to hard limit: 10 > 5",
            ),
            ("nofile=-2", "invalid ulimit argument: nofile=-2"),
            (
                "nofile=-1:5",
                "ulimit soft limit must be less than or equal to hard limit: -1 > 5",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn security_options() {
        let options = SecurityOptions::parse(&[
            "no-new-privileges",
            "seccomp=unconfined",
            "systempaths=unconfined",
            "apparmor:x",
        ])
        .unwrap();
        assert!(options.no_new_privileges && options.systempaths_unconfined);
        assert_eq!(
            (options.seccomp, options.apparmor.as_deref()),
            (SeccompChoice::Unconfined, Some("x"))
        );
        assert_eq!(options.raw.len(), 4);
        let label = SecurityOptions::parse(&[
            "label=type:spc_t",
            "label:level:s0:c1,c2",
            "label=filetype:f_t",
            "label=type:other_t",
        ])
        .unwrap()
        .selinux;
        assert_eq!(
            (label.r#type.as_str(), label.level.as_str()),
            ("other_t", "s0:c1,c2")
        );
        assert!(label.file_type == "f_t" && label.user.is_empty() && !label.disable);
        let disabled = SecurityOptions::parse(&["label=disable"]).unwrap();
        assert!(disabled.selinux.disable);
        assert!(
            !SecurityOptions::parse(&["no-new-privileges=false"])
                .unwrap()
                .no_new_privileges
        );
        for text in [
            "foo",
            "foo=bar",
            "seccomp",
            "seccomp=",
            "no-new-privileges=maybe",
            "label=kind:x",
            "label=type:",
            "label=type:a b",
            "label=level:s0,c1",
            "label=nested",
            "writable-cgroups=maybe",
            "",
        ] {
            let message = SecurityOptions::parse(&[text]).unwrap_err().to_string();
            assert_eq!(message, format!("invalid --security-opt: {text:?}"));
        }
        assert_eq!(
            SecurityOptions::parse(&["seccomp=/nosuch"])
                .unwrap_err()
                .to_string(),
            "open /nosuch"
        );
    }

    #[test]
    fn a_profile_that_is_none_is_refused_when_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.json");
        std::fs::write(&file, "{").unwrap();
        let message = SecurityOptions::parse(&[format!("seccomp={}", file.display())])
            .unwrap_err()
            .to_string();
        assert!(message.starts_with("decoding seccomp profile"), "{message}");
    }

    #[test]
    fn hosts() {
        let parse = |text: &str| {
            text.parse::<AddHost>()
                .map(|h| (h.name, h.address.map(|a| a.to_string())))
        };
        assert_eq!(
            parse("a:1.2.3.4").unwrap(),
            ("a".into(), Some("1.2.3.4".into()))
        );
        assert_eq!(parse("a=::1").unwrap(), ("a".into(), Some("::1".into())));
        assert_eq!(parse("a:[::1]").unwrap(), ("a".into(), Some("::1".into())));
        assert_eq!(parse("a:::1").unwrap(), ("a".into(), Some("::1".into())));
        assert_eq!(
            parse("host.docker.internal:host-gateway").unwrap(),
            ("host.docker.internal".into(), None)
        );
        assert_eq!(
            parse("a").unwrap_err().to_string(),
            "bad format for add-host: \"a\""
        );
        assert_eq!(
            parse(":1.2.3.4").unwrap_err().to_string(),
            "bad format for add-host: \":1.2.3.4\""
        );
        assert_eq!(
            parse("a:b").unwrap_err().to_string(),
            "invalid IP address in add-host: \"b\""
        );
        assert!(parse("a\n1.1.1.1 b:1.2.3.4").is_err());
    }

    #[test]
    fn networks() {
        assert_eq!(
            "container:x".parse::<NetworkMode>().unwrap(),
            NetworkMode::Container("x".into())
        );
        assert_eq!(
            "default".parse::<NetworkMode>().unwrap(),
            NetworkMode::Bridge
        );
        assert_eq!(
            "container:".parse::<NetworkMode>().unwrap_err().to_string(),
            "invalid container format container:<name|id>"
        );
        assert_eq!(
            "foo".parse::<NetworkMode>().unwrap(),
            NetworkMode::User("foo".into())
        );
    }

    #[test]
    fn platforms() {
        for (text, normal) in [
            ("linux/amd64", "linux/amd64"),
            ("amd64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("arm64/v8", "linux/arm64"),
            ("Linux/x86_64", "linux/amd64"),
            ("arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/386", "linux/386"),
        ] {
            assert_eq!(parse_platform(text).unwrap(), normal, "{text}");
        }
        for text in ["", "linux/", "a/b/c/d", "linux/am d64", "linux/foo"] {
            assert!(
                parse_platform(text)
                    .unwrap_err()
                    .to_string()
                    .contains("cannot parse platform"),
                "{text}"
            );
        }
    }
}
