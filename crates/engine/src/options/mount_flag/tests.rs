use super::*;

#[test]
fn mounts() {
    let bind =
        MountSpec::from_mount("type=bind,src=/h,dst=/c,readonly,bind-propagation=rshared").unwrap();
    assert_eq!(
        (bind.kind, bind.source.as_deref(), bind.target.as_str()),
        (MountKind::Bind, Some("/h"), "/c")
    );
    assert!(
        bind.read_only && !bind.create_source && bind.propagation.as_deref() == Some("rshared")
    );
    let volume = MountSpec::from_mount("source=vol,target=/c,volume-nocopy=true,ro=false").unwrap();
    assert_eq!(
        (volume.kind, volume.copy, volume.read_only),
        (MountKind::Volume, false, false)
    );
    let tmpfs =
        MountSpec::from_mount("type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap();
    assert_eq!(tmpfs.tmpfs_options, ["size=1048576", "mode=1770"]);
    let quoted = MountSpec::from_mount("type=bind,\"src=/a,b\",dst=/c").unwrap();
    assert_eq!(quoted.source.as_deref(), Some("/a,b"));
}

#[test]
fn mounts_in_full() {
    let volume = MountSpec::from_mount(
        "type=volume,src=vol,dst=/c,volume-subpath=a/../b,volume-driver=local,volume-opt=type=tmpfs,\
         volume-opt=device=tmpfs,volume-label=k=v,volume-label=only",
    )
    .unwrap();
    assert_eq!(volume.subpath.as_deref(), Some("a/../b"));
    assert!(!volume.copy, "nothing is copied into a part of a volume");
    assert_eq!(volume.volume_driver.as_deref(), Some("local"));
    assert_eq!(volume.volume_options["type"], "tmpfs");
    assert_eq!(
        (
            volume.volume_labels["k"].as_str(),
            volume.volume_labels["only"].as_str()
        ),
        ("v", "")
    );
    let image =
        MountSpec::from_mount("type=image,source=busybox:1,target=/i,image-subpath=bin").unwrap();
    assert_eq!(
        (
            image.kind,
            image.source.as_deref(),
            image.subpath.as_deref(),
            image.read_only
        ),
        (MountKind::Image, Some("busybox:1"), Some("bin"), true)
    );
    for (text, recursion) in [
        ("bind-nonrecursive", BindRecursion::Disabled),
        ("bind-nonrecursive=true", BindRecursion::Disabled),
        ("bind-nonrecursive=false", BindRecursion::Enabled),
        ("bind-recursive=Enabled", BindRecursion::Enabled),
        ("bind-recursive=disabled", BindRecursion::Disabled),
        ("ro,bind-recursive=writable", BindRecursion::Writable),
        (
            "ro,bind-propagation=rprivate,bind-recursive=readonly",
            BindRecursion::Readonly,
        ),
    ] {
        let mount = MountSpec::from_mount(&format!("type=bind,src=/a,dst=/b,{text}")).unwrap();
        assert_eq!(mount.recursion, recursion, "{text}");
    }
    let tmpfs = MountSpec::from_mount("type=tmpfs,dst=/t,\"tmpfs-options=exec,uid=5\"").unwrap();
    assert_eq!(tmpfs.tmpfs_options, ["exec", "uid=5"]);
}

#[test]
fn bad_mounts() {
    for (text, message) in [
        ("", "value is empty"),
        ("type=bind,src=/h", "target is required"),
        (
            "type=bind,dst=/c",
            "invalid mount config for type \"bind\": field Source must not be empty",
        ),
        (
            "type=foo,dst=/c",
            "invalid mount config for type \"foo\": mount type unknown",
        ),
        (
            "type=bind,src=/h,dst=/c,colour=red",
            "unexpected key 'colour' in 'colour=red'",
        ),
        (
            "type=bind,src",
            "invalid field 'src' must be a key=value pair",
        ),
        (
            "type=bind,src=/h,dst=/c,ro=maybe",
            "invalid value for ro: maybe",
        ),
        (
            "type=volume,src=vol,dst=/c,bind-propagation=shared",
            "cannot mix 'bind-*' options with mount type 'volume'",
        ),
        (
            "type=bind,src=/h,dst=/c,volume-driver=local",
            "cannot mix 'volume-*' options with mount type 'bind'",
        ),
        (
            "type=bind,src=/h,dst=/c,image-subpath=a",
            "cannot mix 'image-*' options with mount type 'bind'",
        ),
        (
            "dst=/c,tmpfs-size=1m",
            "cannot mix 'tmpfs-*' options with mount type 'volume'",
        ),
        (
            "type=tmpfs,src=/h,dst=/c",
            "invalid mount config for type \"tmpfs\": field Source must not be specified",
        ),
        (
            "type=tmpfs,dst=/c,tmpfs-mode=9",
            "invalid value for tmpfs-mode: 9",
        ),
        (
            "type=bind,src=h,dst=/c",
            "invalid mount config for type \"bind\": invalid mount path: 'h' mount path must be absolute",
        ),
        (
            "type=bind,src=/h,dst=c",
            "invalid mount path: 'c' mount path must be absolute",
        ),
        (
            "src=vol,dst=/c,volume-subpath=../x",
            "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
        ),
        (
            "src=vol,dst=/c,volume-subpath=/x",
            "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
        ),
        (
            "dst=/c,volume-subpath=x",
            "invalid mount config for type \"volume\": must not set Subpath when using anonymous volumes",
        ),
        (
            "dst=/c,readonly",
            "invalid mount config for type \"volume\": must not set ReadOnly mode when using anonymous volumes",
        ),
        (
            "type=image,dst=/c",
            "invalid mount config for type \"image\": field Source must not be empty",
        ),
        (
            "type=bind,src=/h,dst=/c,bind-recursive=maybe",
            "invalid value for bind-recursive: maybe (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")",
        ),
        (
            "type=bind,src=/h,dst=/c,bind-recursive=writable",
            "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
        ),
        (
            "type=bind,src=/h,dst=/c,ro,bind-recursive=readonly",
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction",
        ),
    ] {
        assert_eq!(
            MountSpec::from_mount(text).unwrap_err().to_string(),
            message,
            "{text}"
        );
    }
}
