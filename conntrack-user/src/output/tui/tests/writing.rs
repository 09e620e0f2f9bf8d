//! Files of what is on the screen.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::output::tui::writing;

/// A directory of its own, gone at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ctwatch-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn text_and_json_over_none_that_is_there() {
    let directory = Directory::new("writing");
    let snapshot = scenes::refusing();
    let text = frame(&mut app(snapshot.clone()), 80, 24);
    let said = writing::write(&directory.0, &text, &snapshot).expect("a writable directory");
    let name = "ctwatch-top-20261120T102640Z";
    assert_eq!(said, format!("wrote {name}.txt and {name}.json"));
    let again = writing::write(&directory.0, "another", &snapshot).expect("a writable directory");
    assert_eq!(again, format!("wrote {name}-2.txt and {name}-2.json"));
    let read = |name: String| fs::read_to_string(directory.0.join(name)).expect("a file");
    assert_eq!(read(format!("{name}.txt")), text);
    assert_eq!(read(format!("{name}-2.txt")), "another");
    let json = read(format!("{name}.json"));
    let mut expected = Vec::new();
    crate::output::Format::Json.top(&mut expected, &snapshot).expect("memory");
    assert_eq!(json.as_bytes(), expected);
    fs::remove_file(directory.0.join(format!("{name}.json"))).expect("a file");
    let third = writing::write(&directory.0, "a third", &snapshot).expect("a writable directory");
    assert_eq!(third, format!("wrote {name}-3.txt and {name}-3.json"), "one of the two is there");
    assert_eq!(read(format!("{name}.txt")), text);
    assert!(writing::write(&directory.0.join("nowhere"), "", &snapshot).is_err());
}
