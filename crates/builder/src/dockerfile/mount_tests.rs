use super::*;

fn parse(text: &str) -> RunMount {
    RunMount::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_bind_is_the_default_and_read_only() {
    let bind = |target: &str, from: Option<&str>, source: &str, read_only| RunMount::Bind {
        target: target.into(),
        from: from.map(Into::into),
        source: source.into(),
        read_only,
    };
    assert_eq!(parse("target=/a"), bind("/a", None, "", true));
    assert_eq!(
        parse("type=bind,from=b,source=/c,dst=/a,rw"),
        bind("/a", Some("b"), "/c", false)
    );
    assert_eq!(
        parse("TYPE=BIND,src=c,destination=a,readwrite=false"),
        bind("a", None, "c", true)
    );
    assert_eq!(parse("target=/a,ro=0"), bind("/a", None, "", false));
    assert_eq!(parse("\"target=/a,b\""), bind("/a,b", None, "", true));
    assert_eq!(parse("type=bind"), bind("", None, "", true));
}

#[test]
fn caches() {
    let plain = RunMount::Cache {
        target: "/c".into(),
        id: None,
        from: None,
        source: String::new(),
        sharing: Sharing::Shared,
        read_only: false,
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    assert_eq!(parse("type=cache,target=/c"), plain);
    let full =
        parse("type=cache,id=i,target=/c,from=f,source=s,sharing=Locked,ro,mode=0700,uid=1,gid=2");
    let RunMount::Cache {
        id,
        from,
        source,
        sharing,
        read_only,
        mode,
        uid,
        gid,
        ..
    } = full
    else {
        panic!()
    };
    assert_eq!(
        (id.as_deref(), from.as_deref(), source.as_str()),
        (Some("i"), Some("f"), "s")
    );
    assert_eq!(
        (sharing, read_only, mode, uid, gid),
        (Sharing::Locked, true, 0o700, 1, 2)
    );
}

#[test]
fn tmpfs() {
    assert_eq!(
        parse("type=tmpfs,target=/t"),
        RunMount::Tmpfs {
            target: "/t".into(),
            size: None
        }
    );
    assert_eq!(
        parse("type=tmpfs,target=/t,size=1g"),
        RunMount::Tmpfs {
            target: "/t".into(),
            size: Some(1 << 30)
        }
    );
}

#[test]
fn secrets() {
    let secret = |text: &str| match parse(text) {
        RunMount::Secret {
            id, target, env, ..
        } => (id, target, env),
        other => panic!("{other:?}"),
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        secret("type=secret,id=a"),
        ("a".into(), some("/run/secrets/a"), None)
    );
    assert_eq!(
        secret("type=secret,source=x/a"),
        ("x/a".into(), some("/run/secrets/a"), None)
    );
    assert_eq!(
        secret("type=secret,target=/x/a"),
        ("a".into(), some("/x/a"), None)
    );
    assert_eq!(
        secret("type=secret,id=a,env=A"),
        ("a".into(), None, some("A"))
    );
    assert_eq!(
        secret("type=secret,id=a,env=A,target=/b"),
        ("a".into(), some("/b"), some("A"))
    );
    let RunMount::Secret {
        required,
        mode,
        uid,
        gid,
        ..
    } = parse("type=secret,id=a,required,mode=0440,uid=5,gid=6")
    else {
        panic!()
    };
    assert_eq!((required, mode, uid, gid), (true, 0o440, 5, 6));
    let RunMount::Secret { required, mode, .. } = parse("type=secret,id=a,required=false") else {
        panic!()
    };
    assert_eq!((required, mode), (false, 0o400));
}

#[test]
fn ssh() {
    let agent = |id: &str, target: Option<&str>, required, mode| RunMount::Ssh {
        id: id.into(),
        target: target.map(Into::into),
        required,
        mode,
        uid: 0,
        gid: 0,
    };
    assert_eq!(parse("type=ssh"), agent("default", None, false, 0o600));
    assert_eq!(
        parse("type=ssh,id=g,target=/s,required=true,mode=666"),
        agent("g", Some("/s"), true, 0o666)
    );
}

#[test]
fn what_makes_no_sense() {
    for (text, message) in [
        ("type=volume", "unsupported mount type \"volume\""),
        (
            "type=cahce,target=/a",
            "unsupported mount type \"cahce\" (did you mean cache?)",
        ),
        (
            "type=cache,sharing=lock",
            "unsupported sharing value \"lock\" (did you mean locked?)",
        ),
        (
            "type=cache,targte=/a",
            "unexpected key 'targte' in 'targte=/a' (did you mean target?)",
        ),
        (
            "type=cache,target",
            "invalid field 'target' must be a key=value pair",
        ),
        ("", "invalid field '' must be a key=value pair"),
        (
            "type=bind,required",
            "unexpected key 'required' for mount type 'bind'",
        ),
        (
            "type=cache,size=1",
            "unexpected key 'size' for mount type 'cache'",
        ),
        ("type=tmpfs,size=x", "invalid value for size: x"),
        ("type=bind,ro=maybe", "invalid value for ro: maybe"),
        ("type=cache,mode=9", "invalid value 9 for mode"),
        ("type=cache,uid=-1", "invalid value -1 for uid"),
        ("type=cache,gid=", "invalid value  for gid"),
        (
            "type=bind,mode=1",
            "mode not allowed for \"bind\" type mounts",
        ),
        (
            "type=tmpfs,uid=1",
            "uid not allowed for \"tmpfs\" type mounts",
        ),
        (
            "type=bind,sharing=shared",
            "invalid cache sharing set for bind mount",
        ),
        (
            "type=secret",
            "invalid secret mount. one of source, target required",
        ),
        (
            "type=secret,id=a,source=b",
            "both source and id can't be set",
        ),
        (
            "type=secret,id=a,from=b",
            "secret mount should not have a from",
        ),
        (
            "type=secret,id=a,sharing=shared",
            "secret mount should not define sharing",
        ),
        ("type=ssh,source=a", "ssh does not support source"),
        (
            "type=ssh,sharing=shared",
            "invalid cache sharing set for ssh mount",
        ),
        (
            "a\"b",
            "failed to parse csv mounts: bare \" in non-quoted field",
        ),
    ] {
        assert_eq!(
            RunMount::parse(text).expect_err(text).to_string(),
            message,
            "{text}"
        );
    }
}

#[test]
fn values_are_expanded_one_by_one() {
    let expander = super::super::Expander::new('\\');
    let env = |name: &str| (name == "T").then(|| "/a,ro=0".to_owned());
    let mount = RunMount::parse_with("type=bind,target=$T", &mut |value| {
        expander.expand(value, &env)
    })
    .expect("a mount");
    assert_eq!(
        mount,
        RunMount::Bind {
            target: "/a,ro=0".into(),
            from: None,
            source: String::new(),
            read_only: true
        }
    );
    let error = RunMount::parse_with("target=${", &mut |value| expander.expand(value, &env))
        .expect_err("open");
    assert_eq!(
        error.to_string(),
        "failed to process \"${\": syntax error: missing '}'"
    );
}
