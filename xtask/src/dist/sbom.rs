//! The bill of materials: CycloneDX 1.5, of what is linked and nothing else. The generators there are list what the lock
//! file names, build tools and other platforms' crates among it, and know nothing of the eBPF object.

use serde_json::{Value, json};

use super::linked::Part;

/// The document; `timestamp` is that of the commit, so that the same commit gives the same document.
pub fn document(parts: &[Part], version: &str, timestamp: &str) -> Value {
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": timestamp,
            "component": {
                "type": "application",
                "bom-ref": "ctwatch",
                "name": "ctwatch",
                "version": version,
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
            },
        },
        "components": parts.iter().map(component).collect::<Vec<_>>(),
    })
}

fn component(part: &Part) -> Value {
    let kind = if part.is_crate { "cargo" } else { "generic" };
    let name = format!("pkg:{kind}/{}@{}", part.name, part.version);
    let mut component = json!({
        "type": "library",
        "bom-ref": name,
        "name": part.name,
        "version": part.version,
        "licenses": [{"expression": part.licence}],
        "purl": name,
    });
    if let Some(checksum) = &part.checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

#[cfg(test)]
mod tests {
    use super::document;
    use crate::dist::linked::Part;

    #[test]
    fn parts_become_components() {
        let part = |name: &str, checksum: Option<&str>, is_crate| Part {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: "MIT".to_owned(),
            checksum: checksum.map(str::to_owned),
            is_crate,
        };
        let text = document(&[part("log", Some("ab12"), true), part("glibc", None, false)], "0.1.0", "now");
        assert_eq!(text["components"][0]["purl"], "pkg:cargo/log@1.0.0");
        assert_eq!(text["components"][0]["hashes"][0]["content"], "ab12");
        assert_eq!(text["components"][1]["purl"], "pkg:generic/glibc@1.0.0");
        assert_eq!(text["components"][1].get("hashes"), None);
    }
}
