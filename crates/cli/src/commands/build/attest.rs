//! `--attest`, `--provenance` and `--sbom`.

use rctr_builder::{Attestations, Detail};

use super::args::BuildArgs;
use super::outputs::fields;

/// What the flags say; an error has the value, the flag and the reason.
pub fn parse(args: &BuildArgs) -> Result<Attestations, (String, &'static str, String)> {
    let mut asked = Attestations::default();
    for word in &args.attest {
        one(&mut asked, word).map_err(|reason| (word.clone(), "--attest", reason))?;
    }
    for (kind, flag, value) in [
        ("provenance", "--provenance", &args.provenance),
        ("sbom", "--sbom", &args.sbom),
    ] {
        if let Some(word) = value {
            short(&mut asked, kind, word).map_err(|reason| (word.clone(), flag, reason))?;
        }
    }
    Ok(asked)
}

/// `true`, `false`, or what would follow `type=…,`.
fn short(asked: &mut Attestations, kind: &str, word: &str) -> Result<(), String> {
    match word {
        "true" | "1" | "" => one(asked, &format!("type={kind}")),
        "false" | "0" => one(asked, &format!("type={kind},disabled=true")),
        more => one(asked, &format!("type={kind},{more}")),
    }
}

fn one(asked: &mut Attestations, word: &str) -> Result<(), String> {
    let (mut kind, mut detail, mut disabled) = (None, Detail::Min, false);
    for field in fields(word) {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid value {field}: key=value is wanted"))?;
        match (key, value) {
            ("type", "provenance" | "sbom") => kind = Some(value.to_owned()),
            ("type", other) => return Err(format!("{other:?} is neither provenance nor sbom")),
            ("disabled", "true" | "false") => disabled = value == "true",
            ("mode", "min") => detail = Detail::Min,
            ("mode", "max") => detail = Detail::Max,
            ("version", "v1") => {}
            ("version", other) => {
                return Err(format!("provenance is of SLSA v1, not {other}"));
            }
            ("generator", _) => {
                return Err(
                    "generator= is not supported: packages are listed by rctr itself".to_owned(),
                );
            }
            _ => return Err(format!("{field:?} is not understood")),
        }
    }
    match kind.as_deref() {
        Some("sbom") => asked.sbom = !disabled,
        Some(_) => asked.provenance = (!disabled).then_some(detail),
        None => return Err("type is missing".to_owned()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[(&str, &str)]) -> Result<Attestations, String> {
        let mut asked = Attestations::default();
        for (kind, word) in words {
            match *kind {
                "attest" => one(&mut asked, word)?,
                kind => short(&mut asked, kind, word)?,
            }
        }
        Ok(asked)
    }

    #[test]
    fn the_short_forms_say_the_same() {
        let max = of(&[("attest", "type=provenance,mode=max")]).unwrap();
        assert_eq!(max.provenance, Some(Detail::Max));
        assert_eq!(of(&[("provenance", "mode=max")]).unwrap(), max);
        let min = of(&[("provenance", "true"), ("sbom", "true")]).unwrap();
        assert_eq!((min.provenance, min.sbom), (Some(Detail::Min), true));
        let off = of(&[("attest", "type=sbom"), ("sbom", "false")]).unwrap();
        assert_eq!(off, Attestations::default());
        for bad in [
            "type=x",
            "mode=max",
            "type=sbom,generator=x",
            "type=provenance,version=v0.2",
        ] {
            assert!(of(&[("attest", bad)]).is_err(), "{bad}");
        }
    }
}
