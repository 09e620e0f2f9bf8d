//! Reads apt's own list of sources and renders one of them for another suite.

use std::fs;
use std::path::PathBuf;

/// Where packages come from, without the suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    uri: String,
    /// The keyring that signs it, if the source names one.
    pub signed_by: Option<String>,
    trusted: bool,
    suites: Vec<String>,
    components: Vec<String>,
}

impl Source {
    /// The same source for another suite, in apt's deb822 format; kernels and QEMU are all in `main`.
    pub fn render(&self, suite: &str, architecture: &str) -> String {
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\nArchitectures: {architecture}\n",
            self.uri
        );
        if let Some(keyring) = &self.signed_by {
            text.push_str(&format!("Signed-By: {keyring}\n"));
        }
        if self.trusted {
            text.push_str("Trusted: yes\n");
        }
        text
    }

    /// Whether this is the archive of the distribution, not a third party that reuses its suite names.
    fn is_debian(&self, suites: &[&str]) -> bool {
        self.components.iter().any(|component| component == "main")
            && self.uri.trim_end_matches('/').rsplit('/').take(2).any(|part| part.starts_with("debian"))
            && self.suites.iter().any(|suite| suites.contains(&suite.as_str()))
    }
}

/// The files that list the machine's sources.
pub fn files() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.retain(|path| {
        path.is_file()
            && path.extension().is_some_and(|extension| extension == "list" || extension == "sources")
    });
    files.sort();
    files
}

/// Picks, out of the texts of those files, the source of Debian or of its security updates.
pub fn pick(texts: &[String], codename: &str, security: bool) -> Option<Source> {
    let all: Vec<Source> = texts.iter().flat_map(|text| parse(text)).collect();
    let find = |suites: &[&str]| all.iter().find(|source| source.is_debian(suites)).cloned();
    let main = || find(&[codename, "stable", "oldstable", "oldoldstable", "testing", "unstable", "sid"]);
    if !security {
        return main();
    }
    let own = find(&[&format!("{codename}-security"), "stable-security", "oldstable-security"]);
    own.or_else(|| {
        // A machine without a security source: mirrors keep that archive beside the main one.
        let mut source = main()?;
        source.uri = format!("{}-security", source.uri.trim_end_matches('/'));
        Some(source)
    })
}

/// Reads either format; a file holds one of them, and neither can be taken for the other.
fn parse(text: &str) -> Vec<Source> {
    let mut sources: Vec<Source> = text.lines().filter_map(parse_line).collect();
    let mut stanza: Vec<&str> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            sources.extend(parse_stanza(&stanza));
            stanza.clear();
        } else if !line.starts_with('#') {
            stanza.push(line);
        }
    }
    sources
}

/// `deb [signed-by=KEYRING] URI SUITE COMPONENT…`
fn parse_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let option = |name: &str| {
        options
            .split_whitespace()
            .find_map(|option| Some(option.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
    };
    Some(Source {
        uri: words.next()?,
        signed_by: option("signed-by"),
        trusted: option("trusted").is_some_and(|value| value == "yes"),
        suites: vec![words.next()?],
        components: words.collect(),
    })
}

/// The fields of one deb822 paragraph.
fn parse_stanza(lines: &[&str]) -> Option<Source> {
    let field = |name: &str| {
        lines.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let words = |name: &str| -> Option<Vec<String>> {
        Some(field(name)?.split_whitespace().map(str::to_owned).collect())
    };
    if field("Enabled").is_some_and(|value| value == "no") || !words("Types")?.contains(&"deb".to_owned()) {
        return None;
    }
    Some(Source {
        uri: words("URIs")?.into_iter().next()?,
        // An embedded key has lines of its own; the archive's keyring file stands in for it.
        signed_by: field("Signed-By").filter(|value| value.starts_with('/')),
        trusted: field("Trusted").is_some_and(|value| value == "yes"),
        suites: words("Suites")?,
        components: words("Components").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::{parse, pick};

    const DEB822: &str = "\
Types: deb deb-src
# a comment
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/keys.gpg

Types: deb
URIs: http://mirror.test/debian-security/
Suites: bookworm-security
Components: main
";

    #[test]
    fn deb822_keeps_everything_but_the_suite() {
        let source = pick(&[DEB822.to_owned()], "bookworm", false).expect("a source");
        assert_eq!(
            source.render("trixie", "amd64"),
            "Types: deb\nURIs: http://mirror.test/debian\nSuites: trixie\nComponents: main\n\
             Architectures: amd64\nSigned-By: /usr/share/keyrings/keys.gpg\n"
        );
    }

    #[test]
    fn security_suites_come_from_the_security_source() {
        let source = pick(&[DEB822.to_owned()], "bookworm", true).expect("a source");
        assert!(
            source
                .render("bullseye-security", "amd64")
                .contains("URIs: http://mirror.test/debian-security/\n")
        );
    }

    #[test]
    fn security_source_is_derived_when_there_is_none() {
        let text = "deb http://mirror.test/debian/ bookworm main".to_owned();
        let source = pick(&[text], "bookworm", true).expect("a source");
        assert!(source.render("x-security", "amd64").contains("URIs: http://mirror.test/debian-security\n"));
    }

    #[test]
    fn one_line_format_keeps_options() {
        let text = "# old\ndeb-src http://mirror.test/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg trusted=yes] http://mirror.test/debian bookworm main\n";
        let sources = parse(text);
        assert_eq!(sources.len(), 1);
        let rendered = sources[0].render("sid", "amd64");
        assert!(rendered.ends_with("Signed-By: /k.gpg\nTrusted: yes\n"), "{rendered}");
    }

    #[test]
    fn third_parties_and_disabled_sources_are_passed_over() {
        let texts = [
            "deb https://docker.test/linux/debian bookworm stable\n".to_owned(),
            "deb https://vendor.test bookworm main\n".to_owned(),
            DEB822.replace("Types: deb deb-src", "Enabled: no\nTypes: deb"),
        ];
        assert_eq!(pick(&texts, "bookworm", false), None);
    }
}
