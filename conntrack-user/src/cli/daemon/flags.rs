//! Flags of `ctwatch daemon`: one for every key of the configuration, made from its table, and a few besides.

use std::{env, path::PathBuf, sync::LazyLock};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};

use crate::daemon::config::{self, DEFAULT_FILE, Given, KEYS, Key, Loaded, Mistakes};

/// What was given on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Only say what would hold, and where it comes from.
    pub check_config: bool,
    config: Option<PathBuf>,
    values: Vec<(&'static Key, Vec<String>)>,
}

/// clap keeps names for as long as the program runs.
struct Texts {
    flag: String,
    variable: String,
    heading: String,
}

static TEXTS: LazyLock<Vec<Texts>> = LazyLock::new(|| {
    let texts = |key: &Key| Texts {
        flag: key.flag(),
        variable: key.variable(),
        heading: format!("Settings: [{}]", key.section),
    };
    KEYS.iter().map(texts).collect()
});

const CONFIG: &str = "config";
const CHECK_CONFIG: &str = "check-config";
const COMPAT: &str = "compat";
const NODE_EXPORTER: &str = "node-exporter";

impl Flags {
    /// Reads file and environment, and merges them with what was given. The same again on SIGHUP.
    pub fn load(&self) -> Result<Loaded, Mistakes> {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        config::load(&Given {
            file: config::read(self.config.as_deref())?,
            variables: env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect(),
            flags: self.values.clone(),
        })
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help(format!("Configuration file [default: {DEFAULT_FILE} if it is there]"));
        let check = Arg::new(CHECK_CONFIG).long(CHECK_CONFIG).action(ArgAction::SetTrue).help(
            "Say what is wrong with the configuration, or every value and where it comes from, and end",
        );
        let compat = Arg::new(COMPAT)
            .long(COMPAT)
            .value_name("NAME")
            .value_parser([NODE_EXPORTER])
            .conflicts_with("metrics.node-exporter")
            .help("The same as --metrics.node-exporter");
        let flags = KEYS.iter().zip(TEXTS.iter()).map(|(key, texts)| flag(key, texts));
        command.args([config, check, compat]).args(flags)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.check_config |= matches.get_flag(CHECK_CONFIG);
        self.config = matches.get_one(CONFIG).cloned().or(self.config.take());
        for (key, texts) in KEYS.iter().zip(TEXTS.iter()) {
            let values = matches.get_many::<String>(&texts.flag).map(|values| values.cloned().collect());
            let compat = is_node_exporter(key) && matches.contains_id(COMPAT);
            let values = values.or(compat.then(|| vec!["true".to_owned()]));
            self.values.extend(values.map(|values| (key, values)));
        }
        Ok(())
    }
}

fn is_node_exporter(key: &Key) -> bool {
    (key.section, key.name) == ("metrics", "node_exporter")
}

fn flag(key: &'static Key, texts: &'static Texts) -> Arg {
    let flag = Arg::new(texts.flag.as_str())
        .long(texts.flag.as_str())
        .action(ArgAction::Append)
        .help_heading(texts.heading.as_str())
        .help(format!("{} [default: {}] [variable: {}]", key.about, key.default(), texts.variable));
    if matches!(key.default().as_str(), "true" | "false") {
        flag.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true")
    } else {
        flag.value_name("VALUE")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::daemon::config::SECTIONS;

    fn parse(words: &[&str]) -> Result<Flags, Error> {
        let command = Flags::augment_args(Command::new("daemon").no_binary_name(true));
        Flags::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    fn line(loaded: &Loaded, key: &str) -> String {
        let lines = loaded.lines();
        let line = lines.iter().find(|line| line.starts_with(&format!("{key} = ")));
        line.expect(key).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_key_has_a_flag() {
        Flags::augment_args(Command::new("daemon")).debug_assert();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ctwatch.toml");
        fs::write(&file, "[attach]\nwarn = 60\naudit = \"5s\"\n").expect("write it");
        let flags = parse(&[
            "--config",
            file.to_str().expect("UTF-8"),
            "--web.listen-address=:1",
            "--web.listen-address=[::1]:2",
            "--web.config.file=/w.yml",
            "--compat",
            "node-exporter",
            "--attach.wait=false",
            "--attach.warn",
            "90",
            "--on-saturation.command=/bin/alert now",
        ]);
        let loaded = flags.expect("flags").load().expect("no mistakes");
        for (key, shown) in [
            ("web.listen_address", "[\"[::]:1\", \"[::1]:2\"] # --web.listen-address"),
            ("web.config_file", "\"/w.yml\" # --web.config.file"),
            ("metrics.node_exporter", "true # --metrics.node-exporter"),
            ("attach.wait", "false # --attach.wait"),
            ("attach.warn", "90 # --attach.warn"),
            ("attach.audit", &format!("\"5s\" # {}:3", file.display())),
            ("on_saturation.command", "[\"/bin/alert\", \"now\"] # --on-saturation.command"),
        ] {
            assert_eq!(line(&loaded, key), format!("{key} = {shown}"));
        }
    }

    #[test]
    fn a_switch_needs_no_value() {
        let flags = parse(&["--metrics.node-exporter", "--check-config"]).expect("flags");
        assert!(flags.check_config);
        assert!(
            config::load(&Given { flags: flags.values, ..Given::default() })
                .expect("fine")
                .config
                .metrics
                .node_exporter
        );
    }

    #[test]
    fn mistakes_of_flags_name_them() {
        let flags = parse(&["--config=/dev/null", "--attach.warn=5", "--log.level=x"]).expect("flags");
        let mistakes = flags.load().expect_err("mistakes").to_string();
        assert_eq!(
            mistakes,
            "--attach.warn: attach.warn: 5 is not between 10 and 99: use a percentage, e.g. 80\n\
             --log.level: log.level: `x` is not known: write one of error, warn, info, debug, trace"
        );
        assert!(parse(&["--attach.warm=5"]).is_err());
        assert!(
            SECTIONS.iter().all(|section| TEXTS.iter().any(|texts| texts.heading.contains(section.name)))
        );
    }
}
