//! Image references: what is read is written and read again as the same, and another implementation agrees.
#![no_main]
#![allow(dead_code, unused_imports)] // Of what is included only a part is called.

use oci_spec::distribution::Reference;

#[path = "../../crates/registry-client/src/reference.rs"]
mod reference;

/// What the module knows of its crate's errors.
#[derive(Debug)]
enum Error {
    InvalidReference { reference: String, reason: String },
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    let ours = reference::parse_reference(text);
    match (&ours, Reference::try_from(text)) {
        (Ok(ours), Ok(theirs)) => {
            // They take an upper-case user of Docker Hub for one.
            let same = *ours == theirs || ours.registry().contains(char::is_uppercase);
            assert!(same, "{text:?}: {ours} here, {theirs} there");
        }
        (Ok(ours), Err(e)) => assert!(we_alone_take(ours), "{text:?}: {ours} here, {e} there"),
        (Err(e), Ok(theirs)) => {
            assert!(we_refuse(text, &theirs), "{text:?}: {theirs} there, {e:?}")
        }
        (Err(_), Err(_)) => {}
    }
    let Ok(ours) = ours else { return };
    let parts = [ours.registry(), ours.repository()];
    assert!(
        parts
            .iter()
            .all(|part| part.is_ascii() && !part.contains("..")),
        "{text:?}"
    );
    for short in [ours.whole(), reference::familiar_name(&ours)] {
        let again = reference::parse_reference(&short).expect(&short);
        assert_eq!(again, ours, "{text:?} by way of {short:?}");
    }
});

/// They know no addresses of IPv6, and no host in upper case.
fn we_alone_take(ours: &Reference) -> bool {
    ours.registry().starts_with('[') || ours.registry().contains(char::is_uppercase)
}

/// They take image ids, ports that are none, hosts with `_`, longer names, letters beyond ASCII, digests in upper case.
fn we_refuse(text: &str, theirs: &Reference) -> bool {
    let port = theirs.registry().rsplit_once(':').map(|(_, port)| port);
    let digest = theirs.digest().unwrap_or_default();
    text.len() == 64
        || !text.is_ascii()
        || theirs.registry().contains('_')
        || theirs.repository().len() > 255
        || port.is_some_and(|port| port.parse::<u16>().is_err())
        || digest.contains(char::is_uppercase)
}
