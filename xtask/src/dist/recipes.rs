//! Unit, container recipe and Kubernetes manifest say the same of capabilities, port and folders.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, bail};

use super::source;

/// What all three have to agree on.
struct Recipes {
    unit: String,
    container: String,
    kubernetes: String,
    configuration: String,
}

/// Fails with the first thing that one says differently.
pub fn check() -> Result<()> {
    let read = |path: &str| fs::read_to_string(source(path)).with_context(|| format!("cannot read {path}"));
    Recipes {
        unit: read("packaging/systemd/ctwatch.service")?,
        container: read("packaging/Containerfile")?,
        kubernetes: read("packaging/kubernetes/daemonset.yaml")?,
        configuration: read("packaging/ctwatch.toml")?,
    }
    .agree()
}

impl Recipes {
    fn agree(&self) -> Result<()> {
        let granted = after(&self.unit, "AmbientCapabilities=").context("the unit grants no capability")?;
        let granted: BTreeSet<&str> =
            granted.split_whitespace().map(|name| name.trim_start_matches("CAP_")).collect();
        let container: BTreeSet<&str> = self
            .container
            .split("--cap-add ")
            .skip(1)
            .filter_map(|rest| rest.split_whitespace().next())
            .collect();
        if container != granted {
            bail!("packaging/Containerfile grants {container:?}, the unit {granted:?}");
        }
        let kubernetes =
            after(&self.kubernetes, "              add: ").context("no capability in Kubernetes")?;
        let kubernetes: BTreeSet<&str> = kubernetes
            .split(|letter: char| !letter.is_ascii_uppercase() && letter != '_')
            .filter(|word| !word.is_empty())
            .collect();
        if kubernetes != granted {
            bail!("packaging/kubernetes/daemonset.yaml grants {kubernetes:?}, the unit {granted:?}");
        }
        let address = after(&self.configuration, "#listen_address = ").context("no address to listen on")?;
        let port = address.trim_matches('"').rsplit(':').next().unwrap_or_default();
        let told = [
            (&self.container, format!("EXPOSE {port}")),
            (&self.container, format!("CTWATCH_WEB_LISTEN_ADDRESS=:{port}")),
            (&self.container, "FROM scratch".to_owned()),
            (&self.container, "/var/lib/ctwatch".to_owned()),
            (&self.kubernetes, format!("containerPort: {port}")),
            (&self.kubernetes, format!("value: \":{port}\"")),
            (&self.kubernetes, "mountPath: /var/lib/ctwatch".to_owned()),
            (&self.kubernetes, "hostNetwork: true".to_owned()),
            (&self.kubernetes, "hostPID: true".to_owned()),
            (&self.kubernetes, "path: /healthz".to_owned()),
            (&self.kubernetes, "path: /readyz".to_owned()),
        ];
        match told.iter().find(|(text, wanted)| !text.contains(wanted.as_str())) {
            Some((_, wanted)) => bail!("a recipe in packaging does not say `{wanted}`"),
            None => Ok(()),
        }
    }
}

/// What follows `start` on the first line that has it at its beginning.
fn after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(start))
}

#[cfg(test)]
mod tests {
    use super::{Recipes, check};

    fn recipes() -> Recipes {
        let granted = "SYS_ADMIN SYSLOG";
        Recipes {
            unit: "AmbientCapabilities=CAP_SYS_ADMIN CAP_SYSLOG\n".to_owned(),
            container: format!(
                "# --cap-add {}\nFROM scratch\nENV CTWATCH_WEB_LISTEN_ADDRESS=:9754\nEXPOSE 9754\nVOLUME /var/lib/ctwatch\n",
                granted.replace(' ', " --cap-add "),
            ),
            kubernetes: "hostNetwork: true hostPID: true path: /healthz path: /readyz containerPort: 9754 \
                 value: \":9754\" mountPath: /var/lib/ctwatch\n              add: [\"SYS_ADMIN\", \"SYSLOG\"]\n"
                .to_owned(),
            configuration: "#listen_address = \"127.0.0.1:9754\"\n".to_owned(),
        }
    }

    #[test]
    fn shipped_recipes_agree() {
        check().expect("they agree");
    }

    #[test]
    fn another_capability_or_port_is_told() {
        recipes().agree().expect("they agree");
        let other = Recipes { unit: "AmbientCapabilities=CAP_SYSLOG\n".to_owned(), ..recipes() };
        assert!(other.agree().expect_err("one more").to_string().contains("Containerfile"));
        let other = Recipes { configuration: "#listen_address = \":1\"\n".to_owned(), ..recipes() };
        assert!(other.agree().expect_err("another port").to_string().contains("EXPOSE 1"));
    }
}
