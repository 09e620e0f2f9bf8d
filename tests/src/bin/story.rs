//! Tells how a gateway runs full, with ctwatch watching. `cargo xtask demo` runs it.

use std::process::ExitCode;

use conntrack_tests::story;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, values)) if first == story::RESTORE => story::restore(values).map(|()| true),
        Some((first, _)) => Err(anyhow::anyhow!("unknown argument {first:?}: the story takes none")),
        None => story::tell(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("story: {error:#}");
            ExitCode::from(4)
        }
    }
}
