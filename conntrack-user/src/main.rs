//! ctwatch: who holds the conntrack table, who was refused, when and why.

use std::process::ExitCode;

fn main() -> ExitCode {
    conntrack_user::cli::main()
}
