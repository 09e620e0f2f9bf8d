//! The one table of keys.

use std::{path::Path, time::Duration};

use clap::ValueEnum as _;

use crate::{
    kernel::backend::BackendChoice,
    quantity::{self, write_bytes, write_duration},
};

use super::{
    super::{
        sections::{Level, LogFormat, OnEdge},
        value::{Value, Wrong, write_list, write_text, wrong},
    },
    Key,
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// All keys, section by section.
pub const KEYS: &[Key] = &[
    Key {
        section: "web",
        name: "listen_address",
        about: "Address and port to listen on, one or a list; `:9754` is all addresses. \"none\": no HTTP.",
        reloads: false,
        get: |config| match config.web.listen_address.as_slice() {
            [] => write_text("none"),
            [one] => write_text(one),
            several => write_list(several.iter().map(ToString::to_string)),
        },
        set: |config, value| {
            config.web.listen_address = value.addresses()?;
            Ok(())
        },
    },
    Key {
        section: "web",
        name: "config_file",
        about: "File with TLS and basic authentication, in the format of Prometheus's web configuration. \"\": neither.",
        reloads: true,
        get: |config| write_text(path(config.web.config_file.as_deref())),
        set: |config, value| {
            config.web.config_file = value.path()?;
            Ok(())
        },
    },
    Key {
        section: "attach",
        name: "backend",
        about: "Way into the kernel: \"auto\" takes the best that works, of \"fexit\", \"kprobe\" and \"netlink\".",
        reloads: false,
        get: |config| write_text(backend_name(config.attach.backend)),
        set: |config, value| {
            config.attach.backend = value.parsed(|text| {
                BackendChoice::from_str(text, false).map_err(|_| {
                    let names: Vec<_> =
                        BackendChoice::value_variants().iter().map(|one| backend_name(*one)).collect();
                    format!("write one of {}", names.join(", "))
                })
            })?;
            Ok(())
        },
    },
    Key {
        section: "attach",
        name: "entries_ring",
        about: "Size of the ring that carries every new and freed entry, a power of two. Larger rings bear longer bursts.",
        reloads: false,
        get: |config| write_text(write_bytes(config.attach.entries_ring.into())),
        set: |config, value| {
            config.attach.entries_ring = value.parsed(quantity::ring_bytes)?;
            Ok(())
        },
    },
    Key {
        section: "attach",
        name: "incidents_ring",
        about: "Size of the ring that carries every refusal and eviction, a power of two.",
        reloads: false,
        get: |config| write_text(write_bytes(config.attach.incidents_ring.into())),
        set: |config, value| {
            config.attach.incidents_ring = value.parsed(quantity::ring_bytes)?;
            Ok(())
        },
    },
    Key {
        section: "attach",
        name: "audit",
        about: "Time between two audits against the kernel's own table. A loss or a missed event brings one at once.",
        reloads: false,
        get: |config| time(config.attach.audit),
        set: |config, value| {
            config.attach.audit = value.duration(SECOND..=DAY)?;
            Ok(())
        },
    },
    Key {
        section: "attach",
        name: "wait",
        about: "Wait for conntrack if it is not loaded yet; if not, the daemon ends with exit code 3.",
        reloads: false,
        get: |config| config.attach.wait.to_string(),
        set: |config, value| {
            config.attach.wait = value.switch()?;
            Ok(())
        },
    },
    Key {
        section: "attach",
        name: "warn",
        about: "Share of nf_conntrack_max from which there is pressure, in percent.",
        reloads: false,
        get: |config| config.attach.warn.to_string(),
        set: |config, value| {
            config.attach.warn = value.number(10..=99, "use a percentage, e.g. 80")?;
            Ok(())
        },
    },
    Key {
        section: "metrics",
        name: "top_sources",
        about: "Sources that metrics name; the rest is summed as `other`. This bounds how many series there are.",
        reloads: true,
        get: |config| config.metrics.top_sources.to_string(),
        set: |config, value| {
            config.metrics.top_sources = value.number(0..=1_000_u32, "use a number, e.g. 20")? as usize;
            Ok(())
        },
    },
    Key {
        section: "metrics",
        name: "node_exporter",
        about: "Add `node_nf_conntrack_*`, the metrics of node_exporter, for dashboards and rules that know no others.",
        reloads: true,
        get: |config| config.metrics.node_exporter.to_string(),
        set: |config, value| {
            config.metrics.node_exporter = value.switch()?;
            Ok(())
        },
    },
    Key {
        section: "metrics",
        name: "interval",
        about: "Time between two pictures of the table that HTTP shows. Scrapes between them see the same numbers.",
        reloads: true,
        get: |config| time(config.metrics.interval),
        set: |config, value| {
            config.metrics.interval = value.duration(Duration::from_millis(100)..=60 * SECOND)?;
            Ok(())
        },
    },
    Key {
        section: "recording",
        name: "dir",
        about: "Directory of its own for recordings; `ctwatch report` reads it. \"\": nothing is recorded.",
        reloads: false,
        get: |config| write_text(path(config.recording.dir.as_deref())),
        set: |config, value| {
            config.recording.dir = value.path()?;
            Ok(())
        },
    },
    Key {
        section: "recording",
        name: "detail_max_age",
        about: "How long every new and freed entry is kept.",
        reloads: true,
        get: |config| time(config.recording.detail_max_age),
        set: |config, value| {
            config.recording.detail_max_age = value.duration(60 * SECOND..=365 * DAY)?;
            Ok(())
        },
    },
    Key {
        section: "recording",
        name: "detail_max_size",
        about: "What that may take of the disk; the oldest goes first.",
        reloads: true,
        get: |config| write_text(write_bytes(config.recording.detail_max_size)),
        set: |config, value| {
            config.recording.detail_max_size = disk_space(value)?;
            Ok(())
        },
    },
    Key {
        section: "recording",
        name: "max_age",
        about: "How long the rest is kept: incidents, edges, a row a second and namespace, who held most.",
        reloads: true,
        get: |config| time(config.recording.max_age),
        set: |config, value| {
            config.recording.max_age = value.duration(60 * SECOND..=3_650 * DAY)?;
            Ok(())
        },
    },
    Key {
        section: "recording",
        name: "max_size",
        about: "What that may take of the disk; the oldest goes first.",
        reloads: true,
        get: |config| write_text(write_bytes(config.recording.max_size)),
        set: |config, value| {
            config.recording.max_size = disk_space(value)?;
            Ok(())
        },
    },
    Key {
        section: "recording",
        name: "incidents_per_second",
        about: "Incidents a second that are kept one by one for so long; more are summed by source.",
        reloads: true,
        get: |config| config.recording.incidents_per_second.to_string(),
        set: |config, value| {
            let number = value.number(0..=1_000_000_u32, "use a number, e.g. 2000")?;
            config.recording.incidents_per_second = number as usize;
            Ok(())
        },
    },
    Key {
        section: "recording",
        name: "top",
        about: "Sources in each list of those that hold most and those refused most.",
        reloads: true,
        get: |config| config.recording.top.to_string(),
        set: |config, value| {
            config.recording.top = value.number(1..=10_000_u32, "use a number, e.g. 20")? as usize;
            Ok(())
        },
    },
    Key {
        section: "recording",
        name: "interval",
        about: "Time between two such lists.",
        reloads: true,
        get: |config| time(config.recording.interval),
        set: |config, value| {
            config.recording.interval = value.duration(SECOND..=DAY)?;
            Ok(())
        },
    },
    Key {
        section: "on_saturation",
        name: "command",
        about: "Program and arguments; no shell reads them. []: none is run.",
        reloads: true,
        get: |config| write_list(&config.on_saturation.command),
        set: |config, value| {
            config.on_saturation.command = command(value)?;
            Ok(())
        },
    },
    Key {
        section: "on_saturation",
        name: "on",
        about: "What it is run on.",
        reloads: true,
        get: |config| write_list(config.on_saturation.on.iter().map(|edge| edge.as_str())),
        set: |config, value| {
            config.on_saturation.on = value.some_of(&OnEdge::ALL, OnEdge::as_str)?;
            Ok(())
        },
    },
    Key {
        section: "on_saturation",
        name: "min_interval",
        about: "Least time between two runs; what happens before is counted as suppressed.",
        reloads: true,
        get: |config| time(config.on_saturation.min_interval),
        set: |config, value| {
            config.on_saturation.min_interval = value.duration(SECOND..=DAY)?;
            Ok(())
        },
    },
    Key {
        section: "on_saturation",
        name: "time_limit",
        about: "How long it may run; then it gets SIGTERM, and 2 s later SIGKILL, with all it has started.",
        reloads: true,
        get: |config| time(config.on_saturation.time_limit),
        set: |config, value| {
            config.on_saturation.time_limit = value.duration(Duration::from_millis(100)..=3_600 * SECOND)?;
            Ok(())
        },
    },
    Key {
        section: "on_saturation",
        name: "user",
        about: "Whom a daemon of root runs it as; another daemon cannot choose, and runs it as itself.",
        reloads: false,
        get: |config| write_text(&config.on_saturation.user),
        set: |config, value| {
            config.on_saturation.user = match value.text()? {
                "" | "root" | "0" => {
                    return Err(wrong("it must not be root", "write another user, e.g. \"nobody\""));
                }
                user => user.to_owned(),
            };
            Ok(())
        },
    },
    Key {
        section: "log",
        name: "level",
        about: "From which severity on: \"error\", \"warn\", \"info\" (edges, losses, gaps, episodes), \"debug\", \"trace\".",
        reloads: true,
        get: |config| write_text(config.log.level.as_str()),
        set: |config, value| {
            config.log.level = value.one_of(&Level::ALL, Level::as_str)?;
            Ok(())
        },
    },
    Key {
        section: "log",
        name: "format",
        about: "\"journald\" with fields, or \"text\" on standard error; \"auto\": to the journal if standard error leads there.",
        reloads: false,
        get: |config| write_text(config.log.format.as_str()),
        set: |config, value| {
            config.log.format = value.one_of(&LogFormat::ALL, LogFormat::as_str)?;
            Ok(())
        },
    },
];

fn time(duration: Duration) -> String {
    write_text(write_duration(duration))
}

fn path(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

fn backend_name(backend: BackendChoice) -> String {
    backend.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Sixteen files at least of a megabyte are kept.
fn disk_space(value: &Value) -> Result<u64, Wrong> {
    if let Value::Number(number) = value {
        return Err(wrong(format!("{number} has no unit"), "write a size in quotes, e.g. \"256M\""));
    }
    value.parsed(|text| {
        quantity::bytes(text)
            .ok()
            .filter(|bytes| (16 << 20..=1 << 50).contains(bytes))
            .ok_or_else(|| "write a size of at least 16M, e.g. 256M or 1G".to_owned())
    })
}

fn command(value: &Value) -> Result<Vec<String>, Wrong> {
    let command = value.list()?;
    match command.first() {
        Some(_) if command.iter().any(|word| word.contains('\0')) => {
            Err(wrong("it holds a NUL", "write words without one"))
        }
        Some(program) if !program.starts_with('/') => Err(wrong(
            format!("`{program}` is no absolute path"),
            "write where the program is, e.g. /usr/local/bin/alert",
        )),
        _ => Ok(command),
    }
}
