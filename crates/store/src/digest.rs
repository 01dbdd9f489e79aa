//! SHA-256 as names of things.

use std::fmt::Write;

use oci_spec::image::{Digest, DigestAlgorithm, Sha256Digest};
use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

/// The digest of `data`.
pub fn sha256(data: &[u8]) -> Digest {
    from_hash(Sha256::new_with_prefix(data))
}

/// The chain id of a layer upon its parent's (OCI image-spec, config.md, "Layer ChainID").
pub fn chain_id(parent: Option<&Digest>, diff_id: &Digest) -> Digest {
    match parent {
        None => diff_id.clone(),
        Some(parent) => sha256(format!("{parent} {diff_id}").as_bytes()),
    }
}

pub(crate) fn from_hash(hash: Sha256) -> Digest {
    let mut hex = String::with_capacity(64);
    for byte in hash.finalize() {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    let digest: Sha256Digest = hex
        .parse()
        .unwrap_or_else(|_| unreachable!("64 hex digits"));
    digest.into()
}

/// The 64 hex digits of a sha256 digest: the only kind that may become part of a path.
pub(crate) fn hex(digest: &Digest) -> Result<&str> {
    match digest.algorithm() {
        DigestAlgorithm::Sha256 => Ok(digest.digest()),
        _ => Err(Error::UnsupportedDigest {
            digest: digest.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_follow_the_specification() {
        let a = sha256(b"a");
        let b = sha256(b"b");
        assert_eq!(chain_id(None, &a), a);
        assert_eq!(
            chain_id(Some(&a), &b),
            sha256(format!("{a} {b}").as_bytes())
        );
        assert_eq!(
            sha256(b"").as_ref(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn only_sha256_becomes_a_path() {
        let odd: Digest = "md5+x:../../etc".parse().unwrap_or_else(|_| sha256(b""));
        if odd.algorithm() != &DigestAlgorithm::Sha256 {
            assert!(hex(&odd).is_err());
        }
        let sha512: Digest = format!("sha512:{}", "a".repeat(128)).parse().unwrap();
        assert!(matches!(hex(&sha512), Err(Error::UnsupportedDigest { .. })));
    }
}
