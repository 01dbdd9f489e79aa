//! What can be wrong with the flags that say what is mounted, and with volumes.

/// What is wrong with a flag that says what is mounted, or with a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountFlagError {
    /// `-v` that cannot be split into source, target and options.
    #[error("invalid volume specification: '{value}'")]
    Volume {
        /// What was given.
        value: String,
    },
    /// `-v` with `::` or a colon at an end.
    #[error("invalid spec: {value}: empty section between colons")]
    VolumeEmptySection {
        /// What was given.
        value: String,
    },
    /// `-v` with an option that is unknown or contradicts another.
    #[error("invalid mode: {mode}")]
    VolumeMode {
        /// The options.
        mode: String,
    },
    /// A volume's name with characters that are not allowed.
    #[error(
        "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    )]
    VolumeName {
        /// The name.
        name: String,
    },
    /// A volume's name of one character.
    #[error("volume name is too short, names should be at least two alphanumeric characters")]
    VolumeNameShort,
    /// A mount's target that is not absolute.
    #[error("invalid mount path: '{path}' mount path must be absolute")]
    MountPath {
        /// The target.
        path: String,
    },
    /// A mount over the root directory.
    #[error("invalid specification: destination can't be '/'")]
    MountRoot,
    /// `--mount`: a field without the value it needs.
    #[error("invalid field '{field}' must be a key=value pair")]
    MountField {
        /// The field.
        field: String,
    },
    /// `--mount`: a key nobody knows, or one this version does not have.
    #[error("unexpected key '{key}' in '{field}'")]
    MountKey {
        /// The key.
        key: String,
        /// The whole field.
        field: String,
    },
    /// `--mount`: a key with a value it does not take.
    #[error("invalid value for {key}: {value}")]
    MountValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// `--mount` of a kind nobody knows.
    #[error("invalid mount config for type \"{value}\": mount type unknown")]
    MountType {
        /// The kind.
        value: String,
    },
    /// `--mount` without a key it needs.
    #[error("{key} is required")]
    MountMissing {
        /// `type` or `target`.
        key: &'static str,
    },
    /// `--mount`: a key that does not belong to the kind of mount.
    #[error("cannot mix '{key}-*' options with mount type '{kind}'")]
    MountMix {
        /// The key.
        key: String,
        /// The kind.
        kind: &'static str,
    },
    /// `--mount` with fields that do not go together.
    #[error("invalid mount config for type \"{kind}\": {reason}")]
    MountConfig {
        /// The kind of mount.
        kind: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// `--mount bind-recursive=…` with a word it does not take.
    #[error(
        "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
    )]
    BindRecursion {
        /// The key.
        key: String,
        /// What was given.
        value: String,
    },
    /// `--mount bind-recursive=…` without what it needs.
    #[error(
        "option 'bind-recursive={recursion}' requires '{required}' to be specified in conjunction"
    )]
    BindRecursionNeeds {
        /// The word given.
        recursion: &'static str,
        /// What is missing.
        required: &'static str,
    },
    /// An empty `--mount`.
    #[error("value is empty")]
    MountEmpty,
    /// `--volumes-from` of nobody.
    #[error("malformed volumes-from: \"{value}\"")]
    VolumesFrom {
        /// What was given.
        value: String,
    },
    /// `--volumes-from` with options other than `ro` and `rw`.
    #[error("invalid mode: {mode}")]
    VolumesFromMode {
        /// What was given.
        mode: String,
    },
    /// A volume's driver that is none.
    #[error("error looking up volume plugin {name}: plugin \"{name}\" not found")]
    VolumeDriver {
        /// What was given.
        name: String,
    },
    /// An option that the local driver does not take.
    #[error("invalid option: \"{name}\"")]
    VolumeOption {
        /// Its name.
        name: String,
    },
    /// An option of the local driver without another one that it needs.
    #[error("missing required option: \"{name}\"")]
    VolumeOptionMissing {
        /// The other one.
        name: &'static str,
    },
    /// The option `size` of the local driver.
    #[error("quota size requested but no quota support")]
    VolumeQuota,
    /// `--mount type=bind` without an absolute source.
    #[error(
        "invalid mount config for type \"bind\": invalid mount path: '{source_path}' mount path must be absolute"
    )]
    BindSource {
        /// The source.
        source_path: String,
    },
    /// `--tmpfs` with an option tmpfs does not have.
    #[error("invalid tmpfs option {option:?}")]
    TmpfsOption {
        /// The option.
        option: String,
    },
    /// Two mounts at one place.
    #[error("Duplicate mount point: {target}")]
    DuplicateMount {
        /// The place in the container.
        target: String,
    },
}

impl MountFlagError {
    /// As [`ParseError::found_by_engine`](super::ParseError::found_by_engine).
    pub(super) fn found_by_engine(&self) -> bool {
        matches!(
            self,
            Self::Volume { .. }
                | Self::VolumeMode { .. }
                | Self::VolumeName { .. }
                | Self::VolumeNameShort
                | Self::MountPath { .. }
                | Self::MountRoot
                | Self::MountType { .. }
                | Self::MountConfig { .. }
                | Self::VolumesFrom { .. }
                | Self::VolumesFromMode { .. }
                | Self::VolumeDriver { .. }
                | Self::VolumeOption { .. }
                | Self::VolumeOptionMissing { .. }
                | Self::VolumeQuota
                | Self::BindSource { .. }
                | Self::TmpfsOption { .. }
                | Self::DuplicateMount { .. }
        )
    }
}
