//! What a volume is made of, and `--volumes-from`.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::{MountFlagError, ParseError, VolumesFrom, parse_size};

/// The only driver there is.
const LOCAL: &str = "local";

/// Checks the name of a volume's driver; none is `local`.
///
/// # Errors
/// [`MountFlagError::VolumeDriver`].
pub fn check_volume_driver(name: &str) -> Result<(), ParseError> {
    match name {
        "" | LOCAL => Ok(()),
        _ => Err(MountFlagError::VolumeDriver {
            name: name.to_owned(),
        }
        .into()),
    }
}

/// Checks the options of a local volume: `type`, `device` and `o`, as mount(8) takes them.
///
/// # Errors
/// [`MountFlagError::VolumeOption`], [`MountFlagError::VolumeOptionMissing`], [`MountFlagError::VolumeQuota`].
pub fn check_volume_options(options: &BTreeMap<String, String>) -> Result<(), ParseError> {
    const NEEDS: [(&str, &str); 4] = [
        ("device", "type"),
        ("type", "device"),
        ("o", "device"),
        ("o", "type"),
    ];
    let known = ["type", "o", "device", "size"];
    if let Some(name) = options.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(MountFlagError::VolumeOption { name: name.clone() }.into());
    }
    if let Some(size) = options.get("size") {
        parse_size(size)?;
        return Err(MountFlagError::VolumeQuota.into());
    }
    let missing = NEEDS
        .iter()
        .find(|(given, needed)| options.contains_key(*given) && !options.contains_key(*needed));
    match missing {
        Some((_, name)) => Err(MountFlagError::VolumeOptionMissing { name }.into()),
        None => Ok(()),
    }
}

impl FromStr for VolumesFrom {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (container, mode) = text.split_once(':').unwrap_or((text, "rw"));
        if container.is_empty() {
            return Err(MountFlagError::VolumesFrom {
                value: text.to_owned(),
            }
            .into());
        }
        let mut read_only = false;
        for word in mode.split(',') {
            match word {
                "ro" => read_only = true,
                // As with Docker, files stay as the other container has them.
                "rw" | "z" | "Z" => {}
                _ => {
                    return Err(MountFlagError::VolumesFromMode {
                        mode: mode.to_owned(),
                    }
                    .into());
                }
            }
        }
        Ok(VolumesFrom {
            container: container.to_owned(),
            read_only,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_need_each_other() {
        let check = |pairs: &[(&str, &str)]| {
            let options = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
            check_volume_options(&options.collect()).map_err(|e| e.to_string())
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(
            check(&[("type", "nfs"), ("device", ":/x"), ("o", "addr=1")]),
            Ok(())
        );
        for (pairs, message) in [
            (&[("colour", "red")][..], "invalid option: \"colour\""),
            (&[("type", "nfs")], "missing required option: \"device\""),
            (&[("device", "x")], "missing required option: \"type\""),
            (&[("o", "bind")], "missing required option: \"device\""),
            (
                &[("size", "1g")],
                "quota size requested but no quota support",
            ),
        ] {
            assert_eq!(check(pairs), Err(message.to_owned()));
        }
        assert!(check_volume_driver("local").is_ok() && check_volume_driver("").is_ok());
        assert_eq!(
            check_volume_driver("x").unwrap_err().to_string(),
            "error looking up volume plugin x: plugin \"x\" not found"
        );
    }

    #[test]
    fn volumes_of_others() {
        let read = |text: &str| text.parse::<VolumesFrom>().map_err(|e| e.to_string());
        let from = |container: &str, read_only| {
            Ok(VolumesFrom {
                container: container.to_owned(),
                read_only,
            })
        };
        assert_eq!(read("web"), from("web", false));
        assert_eq!(read("web:rw"), from("web", false));
        assert_eq!(read("web:ro"), from("web", true));
        assert_eq!(read("web:nocopy"), Err("invalid mode: nocopy".to_owned()));
        assert_eq!(
            read(":ro"),
            Err("malformed volumes-from: \":ro\"".to_owned())
        );
    }
}
