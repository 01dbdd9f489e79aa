//! Devices of the host: `--device`, `--device-cgroup-rule`, `--gpus`, and limits on them.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{LimitError, ParseError, clean_path, parse_size};

/// What of the host's devices a container gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Devices {
    /// `--device` with a path.
    pub nodes: Vec<DeviceSpec>,
    /// `--device-cgroup-rule`.
    pub rules: Vec<DeviceRule>,
    /// `--device` with a name of the Container Device Interface, `vendor.com/class=name`.
    pub cdi: Vec<String>,
    /// `--gpus`.
    pub gpus: Option<GpuRequest>,
}

impl Devices {
    /// All names of the Container Device Interface, those of GPUs among them.
    pub fn cdi_names(&self) -> Vec<String> {
        let gpus = self.gpus.iter().flat_map(GpuRequest::cdi_names);
        self.cdi.iter().cloned().chain(gpus).collect()
    }
}

/// One `--device HOST[:CONTAINER][:PERMISSIONS]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// A device of the host, or a directory of devices.
    pub host: PathBuf,
    /// Where it is in the container.
    pub container: PathBuf,
    /// Some of `r`, `w`, `m`.
    pub permissions: String,
}

/// What `--device` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceFlag {
    /// A path of the host.
    Node(DeviceSpec),
    /// A name of the Container Device Interface.
    Cdi(String),
}

/// One `--device-cgroup-rule`, `c 10:200 rwm`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// `a`, `b` or `c`.
    pub kind: char,
    /// Major number; `None` is any.
    pub major: Option<i64>,
    /// Minor number; `None` is any.
    pub minor: Option<i64>,
    /// Some of `r`, `w`, `m`.
    pub access: String,
}

/// `--gpus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuRequest {
    /// How many; -1 is all of them. 0 if they are named.
    pub count: i64,
    /// By number or id.
    pub ids: Vec<String>,
}

/// A limit on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLimit {
    /// The device's path on the host.
    pub path: PathBuf,
    /// Bytes or operations a second, or a weight.
    pub value: u64,
}

/// `--blkio-weight`, `--blkio-weight-device`, `--device-read-bps` and the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIo {
    /// Relative weight, 10 to 1000; 0 is none.
    pub weight: u16,
    /// Weights on single devices.
    pub weight_devices: Vec<DeviceLimit>,
    /// Bytes read a second.
    pub read_bps: Vec<DeviceLimit>,
    /// Bytes written a second.
    pub write_bps: Vec<DeviceLimit>,
    /// Reads a second.
    pub read_iops: Vec<DeviceLimit>,
    /// Writes a second.
    pub write_iops: Vec<DeviceLimit>,
}

impl FromStr for DeviceFlag {
    type Err = ParseError;

    /// Reads `HOST[:CONTAINER][:PERMISSIONS]` or `vendor.com/class=name`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if crate::pod::is_cdi_name(text) {
            return Ok(DeviceFlag::Cdi(text.to_owned()));
        }
        let fail = |reason: String| Err(ParseError::Device { reason });
        let parts: Vec<&str> = text.split(':').collect();
        let (host, container, permissions) = match parts[..] {
            [host] => (host, host, "rwm"),
            [host, permissions] if is_access(permissions) => (host, host, permissions),
            [host, container] => (host, container, "rwm"),
            [host, container, permissions] if is_access(permissions) => {
                (host, container, permissions)
            }
            [_, _, mode] => return fail(format!("bad mode specified: {mode}")),
            _ => return fail(format!("bad format for path: {text}")),
        };
        if host.is_empty() {
            return fail(format!("bad format for path: {text}"));
        }
        for path in [container, host] {
            if !path.starts_with('/') {
                return fail(format!("{path} is not an absolute path"));
            }
        }
        Ok(DeviceFlag::Node(DeviceSpec {
            host: host.into(),
            container: clean_path(container).into(),
            permissions: permissions.to_owned(),
        }))
    }
}

fn is_access(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b"rwm".contains(&b))
        && b"rwm".iter().all(|b| text.matches(*b as char).count() <= 1)
}

impl FromStr for DeviceRule {
    type Err = ParseError;

    /// Reads `TYPE MAJOR:MINOR ACCESS`, numbers or `*`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fail = || ParseError::DeviceRule {
            value: text.to_owned(),
        };
        let number = |text: &str| match text {
            "*" => Ok(None),
            _ => text.parse::<u32>().map(|n| Some(n.into())).map_err(drop),
        };
        let parse = || -> Result<DeviceRule, ()> {
            let words: Vec<&str> = text.split(' ').collect();
            let &[kind @ ("a" | "b" | "c"), numbers, access] = &words[..] else {
                return Err(());
            };
            let (major, minor) = numbers.split_once(':').ok_or(())?;
            Ok(DeviceRule {
                kind: kind.chars().next().ok_or(())?,
                major: number(major)?,
                minor: number(minor)?,
                access: is_access(access).then(|| access.to_owned()).ok_or(())?,
            })
        };
        parse().map_err(|()| fail())
    }
}

impl std::fmt::Display for DeviceRule {
    /// As it is written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = |n: Option<i64>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let (major, minor) = (number(self.major), number(self.minor));
        write!(f, "{} {major}:{minor} {}", self.kind, self.access)
    }
}

impl FromStr for GpuRequest {
    type Err = ParseError;

    /// Reads `all`, a number, `count=N`, or `device=0,1`, which needs quotes inside a list: `"device=0,1"`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fail = |reason: String| ParseError::Gpus { reason };
        let mut request = GpuRequest {
            count: 0,
            ids: Vec::new(),
        };
        let count = |text: &str| match text {
            "all" => Ok(-1),
            _ => text
                .parse::<i64>()
                .ok()
                .filter(|n| (-1..=64).contains(n))
                .ok_or_else(|| {
                    fail(format!(
                        "invalid count ({text}): value must be either \"all\" or an integer"
                    ))
                }),
        };
        for field in split_list(text) {
            match field.split_once('=') {
                None => request.count = count(&field)?,
                Some(("count", value)) => request.count = count(value)?,
                Some(("device", value)) => {
                    request.ids = value.split(',').map(str::to_owned).collect();
                }
                // What the vendor's files give is what there is.
                Some(("capabilities" | "driver", _)) => {}
                Some((key, _)) => {
                    return Err(fail(format!("unexpected key '{key}' in '{field}'")));
                }
            }
        }
        if request.count != 0 && !request.ids.is_empty() {
            return Err(fail(
                "cannot set both Count and DeviceIDs on device request".to_owned(),
            ));
        }
        Ok(request)
    }
}

impl GpuRequest {
    fn cdi_names(&self) -> Vec<String> {
        let name = |device: &str| format!("nvidia.com/gpu={device}");
        match self.count {
            _ if !self.ids.is_empty() => self.ids.iter().map(|id| name(id)).collect(),
            -1 => vec![name("all")],
            count => (0..count).map(|n| name(&n.to_string())).collect(),
        }
    }
}

/// Fields between commas; a field in double quotes may have commas of its own.
fn split_list(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => {
                if let Some(field) = fields.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    fields
}

/// `--blkio-weight`.
///
/// # Errors
/// [`LimitError::BlkioWeight`] beyond 10 to 1000.
pub(super) fn check_weight(weight: u16) -> Result<(), ParseError> {
    match weight {
        0 | 10..=1000 => Ok(()),
        _ => Err(LimitError::BlkioWeight.into()),
    }
}

/// `--blkio-weight-device PATH:WEIGHT`.
///
/// # Errors
/// [`ParseError::Device`].
pub fn parse_weight_device(text: &str) -> Result<DeviceLimit, ParseError> {
    let (path, value) = device_and_value(text)?;
    let weight = value.parse().ok().filter(|w| matches!(w, 0 | 10..=1000));
    let fail = || ParseError::Device {
        reason: format!("invalid weight for device: {text}"),
    };
    Ok(DeviceLimit {
        path,
        value: weight.ok_or_else(fail)?,
    })
}

/// `--device-read-bps` and `--device-write-bps`, `PATH:RATE`, in bytes with Docker's units.
///
/// # Errors
/// [`ParseError::Device`].
pub fn parse_rate_bytes(text: &str) -> Result<DeviceLimit, ParseError> {
    let (path, value) = device_and_value(text)?;
    let fail = |_| ParseError::Device {
        reason: format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. \
             Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        ),
    };
    Ok(DeviceLimit {
        path,
        value: parse_size(value).map_err(fail)?,
    })
}

/// `--device-read-iops` and `--device-write-iops`, `PATH:RATE`, in operations.
///
/// # Errors
/// [`ParseError::Device`].
pub fn parse_rate_operations(text: &str) -> Result<DeviceLimit, ParseError> {
    let (path, value) = device_and_value(text)?;
    let fail = |_| ParseError::Device {
        reason: format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. \
             Number must be a positive integer"
        ),
    };
    Ok(DeviceLimit {
        path,
        value: value.parse().map_err(fail)?,
    })
}

fn device_and_value(text: &str) -> Result<(PathBuf, &str), ParseError> {
    let fail = |reason: String| ParseError::Device { reason };
    let (path, value) = text
        .split_once(':')
        .filter(|(path, _)| !path.is_empty())
        .ok_or_else(|| fail(format!("bad format: {text}")))?;
    match Path::new(path).starts_with("/dev") {
        true => Ok((path.into(), value)),
        false => Err(fail(format!("bad format for device path: {text}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(text: &str) -> String {
        match text.parse() {
            Ok(DeviceFlag::Node(d)) => format!(
                "{} {} {}",
                d.host.display(),
                d.container.display(),
                d.permissions
            ),
            Ok(DeviceFlag::Cdi(name)) => format!("cdi {name}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn devices() {
        for (text, read) in [
            ("/dev/fuse", "/dev/fuse /dev/fuse rwm"),
            ("/dev/fuse:r", "/dev/fuse /dev/fuse r"),
            ("/dev/fuse:/dev/x/", "/dev/fuse /dev/x rwm"),
            ("/dev/fuse:/dev/x:rm", "/dev/fuse /dev/x rm"),
            ("nvidia.com/gpu=all", "cdi nvidia.com/gpu=all"),
            ("/dev/fuse:/dev/x:rr", "bad mode specified: rr"),
            ("/dev/fuse:x", "x is not an absolute path"),
            ("fuse", "fuse is not an absolute path"),
            (":/dev/x", "bad format for path: :/dev/x"),
            ("/a:/b:r:w", "bad format for path: /a:/b:r:w"),
        ] {
            assert_eq!(device(text), read);
        }
    }

    #[test]
    fn rules() {
        for text in ["c 10:200 rwm", "a *:* r", "b 8:* m"] {
            assert_eq!(text.parse::<DeviceRule>().unwrap().to_string(), text);
        }
        for text in ["a", "x 1:2 r", "c 1 r", "c 1:2 x", "c 1:2  r", "c -1:2 r"] {
            let message = text.parse::<DeviceRule>().unwrap_err().to_string();
            assert_eq!(message, format!("invalid device cgroup format '{text}'"));
        }
    }

    #[test]
    fn gpus_become_names() {
        let names = |text: &str| text.parse::<GpuRequest>().map(|r| r.cdi_names().join(" "));
        assert_eq!(names("all").unwrap(), "nvidia.com/gpu=all");
        assert_eq!(names("2").unwrap(), "nvidia.com/gpu=0 nvidia.com/gpu=1");
        assert_eq!(
            names("\"device=0,GPU-1\"").unwrap(),
            "nvidia.com/gpu=0 nvidia.com/gpu=GPU-1"
        );
        assert_eq!(
            names("count=1,capabilities=utility").unwrap(),
            "nvidia.com/gpu=0"
        );
        assert!(names("many").is_err() && names("count=1,device=0").is_err());
    }

    #[test]
    fn limits_on_devices() {
        assert_eq!(parse_rate_bytes("/dev/sda:1mb").unwrap().value, 1 << 20);
        assert_eq!(parse_rate_operations("/dev/sda:7").unwrap().value, 7);
        assert_eq!(parse_weight_device("/dev/sda:10").unwrap().value, 10);
        for (error, start) in [
            (parse_rate_bytes("/dev/sda"), "bad format: /dev/sda"),
            (
                parse_rate_bytes("/tmp/x:1"),
                "bad format for device path: /tmp/x:1",
            ),
            (
                parse_rate_bytes("/dev/sda:x"),
                "invalid rate for device: /dev/sda:x.",
            ),
            (
                parse_rate_operations("/dev/sda:1k"),
                "invalid rate for device: /dev/sda:1k.",
            ),
            (
                parse_weight_device("/dev/sda:5"),
                "invalid weight for device: /dev/sda:5",
            ),
        ] {
            let message = error.unwrap_err().to_string();
            assert!(message.starts_with(start), "{message}");
        }
    }
}
