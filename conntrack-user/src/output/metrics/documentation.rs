//! The tables of docs/metrics.md, made of the declarations.

use super::declared::SECTIONS;
use super::family::Metric;

/// Everything after the line that says so, as it must be.
pub fn tables() -> String {
    let mut page = String::new();
    for section in SECTIONS {
        page.push_str(&format!("\n## {}\n\n", section.title));
        page.push_str("| series | kind | labels | what it means | absent |\n|---|---|---|---|---|\n");
        section.metrics.iter().for_each(|metric| page.push_str(&row(metric)));
    }
    page
}

fn row(metric: &Metric) -> String {
    let code = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let unit = metric.unit().map(|unit| format!(", {unit}")).unwrap_or_default();
    let absent = if metric.absent.is_empty() { "" } else { metric.absent };
    format!(
        "| `{}` | {}{unit} | {} | {} | {absent} |\n",
        metric.series(),
        metric.kind.as_str(),
        code(metric.labels),
        metric.help,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hand-written is what is before it.
    const GENERATED: &str = "<!-- from here on made of the declarations: see the end -->\n";
    const END: &str = "\n<!-- `CTWATCH_DOCS=overwrite cargo test -p conntrack-user --lib documentation` writes it anew -->\n";

    #[test]
    fn the_page_has_every_metric() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let page = std::fs::read_to_string(path).expect("docs/metrics.md");
        let (written, generated) = page.split_once(GENERATED).expect("a line says where the tables begin");
        let expected = format!("{}{END}", tables());
        if std::env::var_os("CTWATCH_DOCS").is_some_and(|it| it == "overwrite") {
            std::fs::write(path, format!("{written}{GENERATED}{expected}")).expect("docs/metrics.md");
        } else {
            assert!(
                generated == expected,
                "docs/metrics.md is not what is declared: CTWATCH_DOCS=overwrite cargo test -p conntrack-user --lib \
                 documentation writes it anew"
            );
        }
    }
}
