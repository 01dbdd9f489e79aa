//! Mounts as they were asked for: `HostConfig.Binds` and `HostConfig.Mounts`.

use serde::Serialize;

use crate::options::{MountKind, MountSpec, parse_size};

/// One of `HostConfig.Mounts`: a `--mount` as asked for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MountRequest {
    /// `bind`, `volume` or `tmpfs`.
    pub r#type: &'static str,
    /// Path or volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Path in the container.
    pub target: String,
    /// Read-only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// What only a bind has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    /// What only a volume has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
    /// What only a tmpfs has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
}

/// `BindOptions` of a [`MountRequest`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BindOptions {
    /// Mount propagation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation: Option<String>,
    /// Make a missing source.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub create_mountpoint: bool,
}

/// `VolumeOptions` of a [`MountRequest`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeOptions {
    /// Leave an empty volume empty.
    pub no_copy: bool,
}

/// `TmpfsOptions` of a [`MountRequest`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TmpfsOptions {
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Permissions, as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// As `-v` would say it; none of a `--mount`, of a tmpfs or an anonymous volume.
pub(super) fn bind(mount: &MountSpec) -> Option<String> {
    let from_volume_flag = mount.kind != MountKind::Tmpfs && !mount.by_mount_flag;
    let source = mount.source.as_ref().filter(|_| from_volume_flag)?;
    Some(match mount.mode.as_str() {
        // `z` is what `Mounts` shows for a named volume that was given no options.
        "" | "z" => format!("{source}:{}", mount.target),
        mode => format!("{source}:{}:{mode}", mount.target),
    })
}

/// One of `HostConfig.Mounts`, if `--mount` asked for it.
pub(super) fn mount_request(mount: &MountSpec) -> Option<MountRequest> {
    if !mount.by_mount_flag {
        return None;
    }
    let bind_options = BindOptions {
        propagation: mount.propagation.clone(),
        create_mountpoint: mount.create_source,
    };
    let has_bind_options = bind_options.propagation.is_some() || bind_options.create_mountpoint;
    let tmpfs_options = tmpfs_options(&mount.tmpfs_options);
    Some(MountRequest {
        r#type: mount.kind.as_str(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        bind_options: has_bind_options.then_some(bind_options),
        volume_options: (mount.kind == MountKind::Volume && !mount.copy)
            .then_some(VolumeOptions { no_copy: true }),
        tmpfs_options: (tmpfs_options != TmpfsOptions::default()).then_some(tmpfs_options),
    })
}

fn tmpfs_options(options: &[String]) -> TmpfsOptions {
    let value = |name: &str| {
        options
            .iter()
            .rev()
            .find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    };
    TmpfsOptions {
        size_bytes: value("size").and_then(|size| parse_size(size).ok()),
        mode: value("mode").and_then(|mode| u32::from_str_radix(mode, 8).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_by_flag_are_requests_and_no_binds() {
        let shown = |flag: &str| {
            let spec = MountSpec::from_mount(flag).unwrap();
            assert_eq!(bind(&spec), None);
            serde_json::to_string(&mount_request(&spec)).unwrap()
        };
        assert_eq!(
            shown("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=0700"),
            r#"{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":1048576,"Mode":448}}"#
        );
        assert_eq!(
            shown("src=data,dst=/v,volume-nocopy,readonly"),
            r#"{"Type":"volume","Source":"data","Target":"/v","ReadOnly":true,"VolumeOptions":{"NoCopy":true}}"#
        );
        assert_eq!(
            shown("type=bind,src=/x,dst=/y,bind-propagation=rslave"),
            r#"{"Type":"bind","Source":"/x","Target":"/y","BindOptions":{"Propagation":"rslave"}}"#
        );
    }

    #[test]
    fn volumes_are_binds_and_anonymous_ones_are_not() {
        let text = |flag: &str| bind(&MountSpec::from_volume(flag).unwrap().0);
        assert_eq!(text("data:/data").as_deref(), Some("data:/data"));
        assert_eq!(text("/tmp:/mnt:ro").as_deref(), Some("/tmp:/mnt:ro"));
        assert_eq!(text("/data"), None);
    }
}
