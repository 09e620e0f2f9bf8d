use std::{fs, path::PathBuf, time::Duration};

use proptest::prelude::*;

use super::*;

fn file(text: &str) -> Given {
    Given { file: Some(("/etc/ctwatch/ctwatch.toml".into(), text.into())), ..Given::default() }
}

fn mistakes(given: &Given) -> Vec<String> {
    let Mistakes(mistakes) = load(given).expect_err("there are mistakes");
    mistakes.iter().map(ToString::to_string).collect()
}

fn workspace(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn key(path: &str) -> &'static Key {
    KEYS.iter().find(|key| key.path() == path).expect("a key")
}

#[test]
fn nothing_given_is_the_default() {
    let loaded = load(&Given::default()).expect("no mistakes");
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.origins.iter().all(|origin| *origin == Origin::Default));
}

#[test]
fn each_goes_before_the_one_behind_it_and_says_so() {
    let given = Given {
        variables: vec![
            ("CTWATCH_ATTACH_WARN".into(), "85".into()),
            ("CTWATCH_METRICS_TOP_SOURCES".into(), "7".into()),
            ("CTWATCH_LOG".into(), "debug".into()),
            ("PATH".into(), "/bin".into()),
        ],
        flags: vec![(key("attach.warn"), vec!["90".into()])],
        ..file("[attach]\naudit = \"30s\"\nwarn = 70\n[metrics]\ntop_sources = 5\nnode_exporter = true")
    };
    let Loaded { config, .. } = load(&given).expect("no mistakes");
    assert_eq!((config.attach.warn, config.metrics.top_sources), (90, 7));
    assert_eq!(config.attach.audit, Duration::from_secs(30));
    assert!(config.metrics.node_exporter);
    let lines = load(&given).expect("no mistakes").lines();
    for (value, origin) in [
        ("attach.warn = 90", "--attach.warn"),
        ("metrics.top_sources = 7", "CTWATCH_METRICS_TOP_SOURCES"),
        ("attach.audit = \"30s\"", "/etc/ctwatch/ctwatch.toml:2"),
        ("metrics.node_exporter = true", "/etc/ctwatch/ctwatch.toml:6"),
        ("log.level = \"info\"", "default"),
    ] {
        let line = lines.iter().find(|line| line.starts_with(value)).expect(value);
        assert!(line.ends_with(&format!("  # {origin}")), "{line}");
    }
}

#[test]
fn a_mistake_names_place_key_and_remedy() {
    let text = "[attach]\n\nwarn = 120\n";
    assert_eq!(
        mistakes(&file(text)),
        ["/etc/ctwatch/ctwatch.toml:3: attach.warn: 120 is not between 10 and 99: use a percentage, e.g. 80"]
    );
}

#[test]
fn all_mistakes_are_told_in_the_order_of_lines() {
    let given = Given {
        variables: vec![("CTWATCH_ATTACH_WRAN".into(), "85".into())],
        flags: vec![(key("log.level"), vec!["loud".into()])],
        ..file(
            "[web]\nlisten_address = \"localhost\"\n[attach]\naudit = 60\nwarm = 3\n[recording]\ndir = \"here\"\n\
             max_size = \"1K\"\n[weather]\nrain = true\n",
        )
    };
    let told = mistakes(&given);
    let begins = [
        "CTWATCH_ATTACH_WRAN: there is no such key: the keys of [attach] are backend",
        "--log.level: log.level: `loud` is not known: write one of error, warn, info, debug, trace",
        "/etc/ctwatch/ctwatch.toml:2: web.listen_address: `localhost` is no address with a port: write",
        "/etc/ctwatch/ctwatch.toml:4: attach.audit: 60 has no unit: write a time with its unit in quotes, e.g. \"60s\"",
        "/etc/ctwatch/ctwatch.toml:5: attach.warm: there is no such key: the keys of [attach] are",
        "/etc/ctwatch/ctwatch.toml:7: recording.dir: `here` is relative: write a path that begins with /",
        "/etc/ctwatch/ctwatch.toml:8: recording.max_size: `1K` is not understood: write a size of at least 16M",
        "/etc/ctwatch/ctwatch.toml:9: weather: there is no such section: the sections are [web]",
    ];
    assert_eq!(told.len(), begins.len(), "{told:#?}");
    for (told, begin) in told.iter().zip(begins) {
        assert!(told.starts_with(begin), "{told}\nshould begin with\n{begin}");
    }
}

#[test]
fn what_is_not_toml_is_told_with_the_mistakes_of_other_lines() {
    let told = mistakes(&file("[attach]\nwarn = \naudit = \"soon\"\nwait = yes\n"));
    assert!(told.iter().any(|told| told.contains("ctwatch.toml:2: ")), "{told:#?}");
    assert!(told.iter().any(|told| told.contains("ctwatch.toml:3: attach.audit: `soon`")), "{told:#?}");
    assert!(told.iter().any(|told| told.contains("ctwatch.toml:4: ")), "{told:#?}");
    assert_eq!(
        mistakes(&Given { file: Some(("/f".into(), b"#\n\xff".to_vec())), ..Given::default() }).len(),
        1
    );
    assert!(mistakes(&file("[log]\nlevel = \"info\"\nlevel = \"warn\"\n"))[0].contains(":3: "));
}

#[test]
fn values_of_every_kind() {
    let given = Given {
        variables: vec![
            ("CTWATCH_WEB_LISTEN_ADDRESS".into(), ":9754 [::1]:1".into()),
            ("CTWATCH_ON_SATURATION_COMMAND".into(), "/bin/alert --now".into()),
        ],
        flags: vec![(key("on_saturation.on"), vec!["refusing".into(), "recovered".into()])],
        ..Given::default()
    };
    let config = load(&given).expect("no mistakes").config;
    assert_eq!(config.web.listen_address, ["[::]:9754", "[::1]:1"].map(|one| one.parse().expect("address")));
    assert_eq!(config.on_saturation.command, ["/bin/alert", "--now"]);
    assert_eq!(config.on_saturation.on, [OnEdge::Refusing, OnEdge::Recovered]);
    let config = load(&file("web.listen_address = \"none\"\nrecording.dir = \"\"\nattach.warn = 0x50\n"));
    let config = config.expect("no mistakes").config;
    assert!(
        config.web.listen_address.is_empty() && config.recording.dir.is_none() && config.attach.warn == 80
    );
    for wrong in [
        "web.listen_address = []",
        "web.listen_address = [\"127.0.0.1:1\", \"127.0.0.1:1\"]",
        "web.listen_address = [\"none\", \"127.0.0.1:1\"]",
        "attach.wait = \"true\"",
        "attach.warn = \"80\"",
        "attach.warn = 9223372036854775807",
        "attach.warn = 92233720368547758070",
        "attach.warn = -80",
        "attach.warn = 80.5",
        "attach.backend = \"best\"",
        "attach.entries_ring = \"5M\"",
        "attach = 3",
        "on_saturation.command = \"alert\"",
        "on_saturation.command = [\"/bin/alert\", 3]",
        "on_saturation.on = [\"full\"]",
        "on_saturation.user = \"root\"",
        "metrics.interval = \"1ms\"",
        "recording.dir = \"/a\\u0000b\"",
        "[[attach]]",
    ] {
        assert_eq!(mistakes(&file(wrong)).len(), 1, "{wrong}");
    }
}

/// What is written as a value is read as the same.
#[test]
fn what_is_got_can_be_set() {
    let text: String = KEYS.iter().map(|key| format!("{} = {}\n", key.path(), key.default())).collect();
    assert_eq!(load(&file(&text)).expect("no mistakes").config, Config::default());
    let other = "[web]\nlisten_address = [\"127.0.0.1:1\", \"[::1]:2\"]\nconfig_file = \"/a\\\"b\\\\\"\n\
                 [attach]\nbackend = \"fexit-module\"\nentries_ring = \"1G\"\n[on_saturation]\n\
                 command = [\"/bin/sh\", \"-c\", \"echo \\\"\\t\\\"\"]\non = []\n[log]\nformat = \"journald\"\n";
    let other = load(&file(other)).expect("no mistakes").config;
    let text: String = KEYS.iter().map(|key| format!("{} = {}\n", key.path(), (key.get)(&other))).collect();
    assert_eq!(load(&file(&text)).expect(&text).config, other);
}

#[test]
fn a_reload_takes_over_what_it_says_and_nothing_else() {
    let old = Config::default();
    assert_eq!(Config::changes(&old, &old).describe(), "nothing has changed");
    let new = load(&file(
        "[web]\nlisten_address = \":1\"\n[attach]\nwarn = 90\n[on_saturation]\nuser = \"alert\"\n\
         min_interval = \"1h\"\n[log]\nlevel = \"debug\"\nformat = \"text\"\n[recording]\ndir = \"/r\"\nmax_age = \"1d\"\n",
    ));
    let new = new.expect("no mistakes").config;
    let reload = Config::changes(&old, &new);
    assert_eq!(
        reload.describe(),
        "taken over: recording.max_age, on_saturation.min_interval, log.level; only a restart takes over: \
         web.listen_address, attach.warn, recording.dir, on_saturation.user, log.format"
    );
    let taken = Config::taken_over(&old, &new);
    let paths = |keys: &[&Key]| keys.iter().map(|key| key.path()).collect::<Vec<_>>();
    let (did, left) = (Config::changes(&old, &taken), Config::changes(&taken, &new));
    assert_eq!((paths(&did.apply), paths(&did.needs_restart)), (paths(&reload.apply), vec![]));
    assert_eq!((paths(&left.apply), paths(&left.needs_restart)), (vec![], paths(&reload.needs_restart)));
}

/// Every key is taken over or left as its `reloads` says.
#[test]
fn every_key_is_taken_over_as_the_table_says() {
    let others = [
        "web.listen_address = \"none\"",
        "web.config_file = \"/w\"",
        "attach.backend = \"kprobe\"",
        "attach.entries_ring = \"4M\"",
        "attach.incidents_ring = \"4M\"",
        "attach.audit = \"5s\"",
        "attach.wait = false",
        "attach.warn = 70",
        "metrics.top_sources = 1",
        "metrics.node_exporter = true",
        "metrics.interval = \"2s\"",
        "recording.dir = \"/r\"",
        "recording.detail_max_age = \"1h\"",
        "recording.detail_max_size = \"1G\"",
        "recording.max_age = \"1d\"",
        "recording.max_size = \"2G\"",
        "recording.incidents_per_second = 1",
        "recording.top = 1",
        "recording.interval = \"1s\"",
        "on_saturation.command = [\"/bin/true\"]",
        "on_saturation.on = []",
        "on_saturation.min_interval = \"1s\"",
        "on_saturation.time_limit = \"1s\"",
        "on_saturation.user = \"daemon\"",
        "log.level = \"warn\"",
        "log.format = \"text\"",
    ];
    assert_eq!(others.len(), KEYS.len());
    let old = Config::default();
    for (other, key) in others.iter().zip(KEYS) {
        let new = load(&file(other)).expect(other).config;
        assert_ne!(old, new, "{other}");
        let expected = if key.reloads { &new } else { &old };
        assert_eq!(Config::taken_over(&old, &new), *expected, "{other}");
    }
}

#[test]
fn arguments_of_a_command_are_not_in_what_is_debugged() {
    let config =
        load(&file("on_saturation.command = [\"/bin/page\", \"s3cret\"]")).expect("no mistakes").config;
    let text = format!("{config:?}");
    assert!(text.contains("/bin/page") && !text.contains("s3cret"), "{text}");
}

/// The file or the part of it between two markers; CTWATCH_BLESS=1 writes it anew.
fn expect_in(path: &str, markers: Option<(&str, &str)>, expected: &str) {
    let path = workspace(path);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let (before, found, after) = match markers {
        None => ("", text.as_str(), ""),
        Some((begin, end)) => {
            let (before, rest) = text.split_once(begin).expect("the marker it begins with");
            let (found, _) = rest.split_once(end).expect("the marker it ends with");
            (&text[..before.len() + begin.len()], found, &rest[found.len()..])
        }
    };
    if std::env::var_os("CTWATCH_BLESS").is_some() {
        fs::write(&path, [before, expected, after].concat()).expect("write it");
    } else {
        assert!(found == expected, "{} is not of today: CTWATCH_BLESS=1 writes it anew", path.display());
    }
}

#[test]
fn the_shipped_file_is_of_today() {
    expect_in("packaging/ctwatch.toml", None, &shipped());
}

#[test]
fn the_table_in_the_documentation_is_of_today() {
    let reference = format!("\n{}\n", reference());
    expect_in("docs/configuration.md", Some(("<!-- keys -->\n", "\n<!-- end of keys -->")), &reference);
}

/// Without a look at how the file is made: its keys, uncommented, are all there are, and are the defaults.
#[test]
fn the_shipped_file_uncommented_is_the_default() {
    let text = fs::read_to_string(workspace("packaging/ctwatch.toml")).expect("the shipped file");
    assert_eq!(load(&file(&text)).expect("no mistakes").config, Config::default());
    let uncommented: Vec<_> = text
        .lines()
        .map(|line| {
            let key =
                line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
            key.unwrap_or(line)
        })
        .collect();
    let loaded = load(&file(&uncommented.join("\n"))).expect("no mistakes");
    assert_eq!(loaded.config, Config::default());
    for (key, origin) in KEYS.iter().zip(&loaded.origins) {
        assert!(matches!(origin, Origin::File(..)), "{} is not in the file", key.path());
    }
}

#[test]
fn names_are_systematic_and_unique() {
    let mut names: Vec<_> =
        KEYS.iter().flat_map(|key| [key.path(), key.variable(), key.flag() + "="]).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    assert!(KEYS.iter().all(|key| SECTIONS.iter().any(|section| section.name == key.section)));
    assert_eq!(key("web.listen_address").variable(), "CTWATCH_WEB_LISTEN_ADDRESS");
    assert_eq!(key("web.listen_address").flag(), "web.listen-address");
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let Mistakes(mistakes) = read(Some(&folder.path().join("none.toml"))).expect_err("it is not there");
    assert!(mistakes[0].to_string().contains("none.toml: cannot be read: No such file"), "{mistakes:?}");
    let large = folder.path().join("large.toml");
    fs::write(&large, vec![b'#'; (1 << 20) + 1]).expect("write it");
    assert!(read(Some(&large)).is_err());
}

#[test]
fn what_is_nested_deeply_is_a_mistake_and_no_overflow() {
    for text in ["[", "{a=", "a.", "[[", "[a.", "\"\"\"", "#\n"] {
        let _either = load(&file(&format!("attach.warn = {}", text.repeat(50_000))));
        let _either = load(&file(&text.repeat(50_000)));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _either = load(&Given { file: Some(("/f".into(), bytes)), ..Given::default() });
    }

    /// Closer to what is understood: keys with values of any kind.
    #[test]
    fn no_values_make_it_panic(
        values in prop::collection::vec((0..KEYS.len(), "[\\PC\\n]{0,12}|-?[0-9]{1,21}[a-zA-Zµ]?|\\[[^\\]]{0,9}\\]"), 0..9),
        quote: bool,
    ) {
        let text: String = values
            .iter()
            .map(|(at, value)| {
                let quote = if quote { "\"" } else { "" };
                format!("{} = {quote}{value}{quote}\n", KEYS[*at].path())
            })
            .collect();
        let variables = values.iter().map(|(at, value)| (KEYS[*at].variable(), value.clone())).collect();
        let flags = values.iter().map(|(at, value)| (&KEYS[*at], vec![value.clone(); *at % 3])).collect();
        let given = Given { variables, flags, ..file(&text) };
        if let Ok(loaded) = load(&given) {
            prop_assert_eq!(loaded.lines().len(), KEYS.len());
        }
    }
}
