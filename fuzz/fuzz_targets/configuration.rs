//! The daemon's configuration: a file, and variables.
#![no_main]

use conntrack_user::daemon::config::{Given, KEYS, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], Vec<(u8, String)>)| {
    let (bytes, variables) = input;
    let variable = |(at, value)| (KEYS[usize::from(at) % KEYS.len()].variable(), value);
    let given = Given {
        file: Some(("ctwatch.toml".into(), bytes.to_vec())),
        variables: variables.into_iter().map(variable).collect(),
        flags: Vec::new(),
    };
    match load(&given) {
        Ok(loaded) => assert_eq!(loaded.lines().len(), KEYS.len()),
        Err(mistakes) => assert!(!mistakes.to_string().is_empty()),
    }
});
