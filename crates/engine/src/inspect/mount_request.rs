//! Mounts as they were asked for: `HostConfig.Binds` and `HostConfig.Mounts`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::options::{BindRecursion, MountKind, MountSpec, parse_size};

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
    /// What only an image has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_options: Option<ImageOptions>,
    /// What only a tmpfs has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
}

/// `BindOptions` of a [`MountRequest`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BindOptions {
    /// Mount propagation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation: Option<String>,
    /// Nothing of what is mounted below the source.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub non_recursive: bool,
    /// Make a missing source.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub create_mountpoint: bool,
    /// What is mounted below the source can be written although the bind cannot.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only_non_recursive: bool,
    /// What is mounted below the source surely cannot be written either.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only_force_recursive: bool,
}

/// `VolumeOptions` of a [`MountRequest`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeOptions {
    /// Leave an empty volume empty.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_copy: bool,
    /// Labels of a volume that is not there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Not the whole volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subpath: String,
    /// How a volume that is not there is made.
    pub driver_config: DriverConfig,
}

/// `DriverConfig` of [`VolumeOptions`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DriverConfig {
    /// The driver.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// `ImageOptions` of a [`MountRequest`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageOptions {
    /// Not the whole image.
    pub subpath: String,
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
        non_recursive: mount.recursion == BindRecursion::Disabled,
        create_mountpoint: mount.create_source,
        read_only_non_recursive: mount.recursion == BindRecursion::Writable,
        read_only_force_recursive: mount.recursion == BindRecursion::Readonly,
    };
    let has_bind_options = bind_options != BindOptions::default();
    let subpath = mount.subpath.clone().unwrap_or_default();
    let volume_options = VolumeOptions {
        // Docker copies nothing into a part of a volume, and does not say so.
        no_copy: !mount.copy && subpath.is_empty(),
        labels: mount.volume_labels.clone(),
        subpath: subpath.clone(),
        driver_config: DriverConfig {
            name: mount.volume_driver.clone().unwrap_or_default(),
            options: mount.volume_options.clone(),
        },
    };
    let has_volume_options =
        mount.kind == MountKind::Volume && volume_options != VolumeOptions::default();
    let of_image = mount.kind == MountKind::Image && !subpath.is_empty();
    let tmpfs_options = tmpfs_options(&mount.tmpfs_options);
    Some(MountRequest {
        r#type: mount.kind.as_str(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only && mount.kind != MountKind::Image,
        bind_options: has_bind_options.then_some(bind_options),
        volume_options: has_volume_options.then_some(volume_options),
        image_options: of_image.then_some(ImageOptions { subpath }),
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
            r#"{"Type":"volume","Source":"data","Target":"/v","ReadOnly":true,"VolumeOptions":{"NoCopy":true,"DriverConfig":{}}}"#
        );
        assert_eq!(
            shown("type=bind,src=/x,dst=/y,bind-propagation=rslave"),
            r#"{"Type":"bind","Source":"/x","Target":"/y","BindOptions":{"Propagation":"rslave"}}"#
        );
    }

    #[test]
    fn volumes_are_binds_and_anonymous_ones_are_not() {
        let text = |flag: &str| bind(&MountSpec::from_volume(flag).unwrap());
        assert_eq!(text("data:/data").as_deref(), Some("data:/data"));
        assert_eq!(text("/tmp:/mnt:ro").as_deref(), Some("/tmp:/mnt:ro"));
        assert_eq!(text("/data"), None);
    }
}
