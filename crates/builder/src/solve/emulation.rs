//! Programs of other machines: they run where the kernel has been told of an emulator.

use std::fs;
use std::path::Path;

use rctr_registry_client::Platform;

/// Where the kernel lists emulators (binfmt_misc(5)).
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// Whether programs for a platform run here, by themselves or through an emulator that needs no file of the image
/// (flag `F`).
pub(super) fn runs(platform: &Platform) -> bool {
    Platform::host().matches(platform) || has_emulator(Path::new(REGISTERED), platform)
}

fn has_emulator(registered: &Path, platform: &Platform) -> bool {
    let Some(machine) = qemu_name(&platform.architecture) else {
        return false;
    };
    let entry = fs::read_to_string(registered.join(format!("qemu-{machine}")));
    entry.is_ok_and(|text| {
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        text.starts_with("enabled") && flags.is_some_and(|flags| flags.contains('F'))
    })
}

/// QEMU's name of an architecture, under which its packages register it.
fn qemu_name(architecture: &str) -> Option<&'static str> {
    Some(match architecture {
        "amd64" => "x86_64",
        "386" => "i386",
        "arm64" => "aarch64",
        "arm" => "arm",
        "riscv64" => "riscv64",
        "ppc64le" => "ppc64le",
        "s390x" => "s390x",
        "mips64le" => "mips64el",
        "mips64" => "mips64",
        "loong64" => "loongarch64",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulator_must_be_enabled_and_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let arm: Platform = "linux/arm64".parse().unwrap();
        assert!(!has_emulator(dir.path(), &arm));
        let put = |text: &str| fs::write(dir.path().join("qemu-aarch64"), text).unwrap();
        put("enabled\ninterpreter /usr/bin/qemu\nflags: OCF\noffset 0\n");
        assert!(has_emulator(dir.path(), &arm));
        put("disabled\ninterpreter /usr/bin/qemu\nflags: OCF\n");
        assert!(!has_emulator(dir.path(), &arm));
        put("enabled\ninterpreter /usr/bin/qemu\nflags: \n");
        assert!(!has_emulator(dir.path(), &arm));
        assert!(runs(&Platform::host()));
    }
}
