//! A list of packages as SPDX 2.3.

use rctr_store::sha256;
use serde_json::{Value, json};

use super::packages::Package;
use crate::time;

pub(super) fn document(name: &str, packages: &[Package], created: i64) -> Value {
    const ROOT: &str = "SPDXRef-DocumentRoot-Image";
    let mut listed = vec![json!({
        "name": name,
        "SPDXID": ROOT,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "primaryPackagePurpose": "CONTAINER",
    })];
    let mut relations = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": ROOT,
    })];
    for (number, package) in packages.iter().enumerate() {
        let id = format!("SPDXRef-Package-{}", number + 1);
        relations.push(json!({
            "spdxElementId": ROOT,
            "relationshipType": "CONTAINS",
            "relatedSpdxElement": id,
        }));
        listed.push(json!({
            "name": package.name,
            "SPDXID": id,
            "versionInfo": package.version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
            "sourceInfo": format!("found in {}", package.found_in),
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": package.purl,
            }],
        }));
    }
    let content = sha256(json!([listed, created]).to_string().as_bytes());
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        // Unlike that of any other document.
        "documentNamespace": format!("urn:rctr:sbom:{}", content.digest()),
        "creationInfo": {
            "created": time::format(created),
            "creators": [concat!("Tool: rctr-", env!("CARGO_PKG_VERSION"))],
        },
        "packages": listed,
        "relationships": relations,
    })
}
