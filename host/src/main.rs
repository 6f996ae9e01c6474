//! The command `feedgate`. Everything it does is in the library's `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    feedgate::cli::main()
}
