//! `--cache-from` and `--cache-to`.

use std::path::PathBuf;

use rctr_builder::{CacheExport, CacheTarget};
use rctr_engine::{CachePlace, Compression};
use rctr_registry_client::parse_reference;

use super::outputs::{compression, fields};

/// What of a directory is read and written if nothing else is said.
const TAG: &str = "latest";

/// `--cache-from`.
pub fn import(word: &str) -> Result<CachePlace, String> {
    let mut spec = Spec::parse(word, "src")?;
    let place = spec.place("src", true)?;
    spec.nothing_left()?;
    Ok(place)
}

/// `--cache-to`.
pub fn export(word: &str) -> Result<CacheExport, String> {
    let mut spec = Spec::parse(word, "dest")?;
    let to = match spec.kind.as_str() {
        "inline" => CacheTarget::Inline,
        _ => CacheTarget::Place(spec.place("dest", false)?),
    };
    let all = match spec.take("mode").as_deref() {
        None | Some("min") => false,
        Some("max") if to == CacheTarget::Inline => {
            return Err("an image has only the cache of its own layers: mode=max needs type=registry or type=local".to_owned());
        }
        Some("max") => true,
        Some(other) => return Err(format!("mode {other:?} is neither min nor max")),
    };
    let level = spec.take("compression-level");
    let level = level.map(|level| {
        level
            .parse()
            .map_err(|_| format!("invalid level {level:?}"))
    });
    let compression = compression(spec.take("compression").as_deref(), level.transpose()?)?;
    if let Some(Compression::Estargz(_)) = compression {
        return Err("a cache cannot have compression=estargz, which makes other layers".to_owned());
    }
    let ignore_error = spec.truth("ignore-error")?;
    for always in ["oci-mediatypes", "image-manifest"] {
        if spec.take(always).is_some_and(|value| value == "false") {
            return Err(format!("{always}=false is not supported"));
        }
    }
    // What is packed otherwise is packed again anyway.
    spec.truth("force-compression")?;
    spec.nothing_left()?;
    Ok(CacheExport {
        to,
        all,
        compression: compression.unwrap_or(Compression::DEFAULT_GZIP),
        ignore_error,
    })
}

struct Spec {
    kind: String,
    /// Keys and values not looked at yet.
    rest: Vec<(String, String)>,
}

impl Spec {
    fn parse(word: &str, directory: &str) -> Result<Spec, String> {
        let fields = fields(word);
        if let [reference] = &fields[..]
            && !reference.contains('=')
        {
            return Ok(Spec {
                kind: "registry".to_owned(),
                rest: vec![("ref".to_owned(), reference.clone())],
            });
        }
        let mut rest = Vec::new();
        for field in fields {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| format!("invalid value {field}: key=value is wanted"))?;
            rest.push((key.to_ascii_lowercase(), value.to_owned()));
        }
        let mut spec = Spec {
            kind: String::new(),
            rest,
        };
        spec.kind = spec.take("type").unwrap_or_default();
        match spec.kind.as_str() {
            "registry" | "local" => Ok(spec),
            "inline" if directory == "dest" => Ok(spec),
            "" => Err(format!("type is missing in {word:?}")),
            kind @ ("gha" | "s3" | "azblob") => Err(format!(
                "type={kind} is not supported: use registry or local"
            )),
            kind => Err(format!(
                "unknown type {kind:?}: registry, local and, to write, inline are known"
            )),
        }
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let position = self.rest.iter().position(|(known, _)| known == key)?;
        Some(self.rest.remove(position).1)
    }

    fn truth(&mut self, key: &str) -> Result<bool, String> {
        match self.take(key).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(format!("{key} is true or false, not {other:?}")),
        }
    }

    fn place(&mut self, directory: &str, digest: bool) -> Result<CachePlace, String> {
        if self.kind == "registry" {
            let name = self.take("ref").ok_or("registry cache needs ref")?;
            let reference = parse_reference(&name).map_err(|e| e.to_string())?;
            if reference.digest().is_some() && !digest {
                return Err("a cache is written under a tag, not a digest".to_owned());
            }
            return Ok(CachePlace::Registry(reference));
        }
        let path = self.take(directory);
        let path = path.ok_or_else(|| format!("local cache needs {directory}"))?;
        Ok(CachePlace::Layout {
            path: PathBuf::from(path),
            tag: self.take("tag").unwrap_or_else(|| TAG.to_owned()),
        })
    }

    fn nothing_left(&self) -> Result<(), String> {
        match self.rest.first() {
            Some((key, _)) => Err(format!("{key} is no option of type={}", self.kind)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(import("h:5/a").unwrap().to_string(), "h:5/a:latest");
        let same = import("type=registry,ref=h:5/a:1").unwrap();
        assert_eq!(same.to_string(), "h:5/a:1");
        let local = import("type=local,src=/x,tag=t").unwrap();
        assert_eq!(local.to_string(), "/x:t");
        let to = export("type=local,dest=d,mode=max,compression=zstd,ignore-error=true").unwrap();
        assert!(to.all && to.ignore_error);
        assert_eq!(to.compression, Compression::DEFAULT_ZSTD);
        let inline = export("type=inline").unwrap();
        assert_eq!((inline.to, inline.all), (CacheTarget::Inline, false));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (word, part) in [
            ("type=gha", "type=gha is not supported"),
            ("type=inline,mode=max", "mode=max"),
            ("type=local,mode=max", "needs dest"),
            ("type=registry", "needs ref"),
            ("type=local,dest=x,mode=some", "neither min nor max"),
            ("type=local,dest=x,colour=red", "colour"),
            ("mode=max", "type is missing"),
            ("type=registry,ref=A", "lowercase"),
        ] {
            let error = export(word).unwrap_err();
            assert!(error.contains(part), "{word}: {error}");
        }
        assert!(import("type=inline").unwrap_err().contains("unknown type"));
    }
}
