//! What clients ask for behind `?`, and web configurations.
#![no_main]

use conntrack_user::serve::parameters::{Refusals, Since};
use conntrack_user::serve::web_config::Description;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Since::parse(text);
    if let Err(error) = Refusals::parse(text) {
        assert!(error.to_string().len() < 1200, "what is said of it stays short");
    }
    if let Err(mistake) = Description::parse(text) {
        assert!(!mistake.what.is_empty() && mistake.line != Some(0));
    }
});
