//! Everything in one program: `ottla serve` is the broker, everything else a tool.

use std::process::ExitCode;

use ottla::broker::serve;
use ottla::tools::{self, OwnCommand};

fn main() -> ExitCode {
    tools::ottla(std::env::args_os(), &[OwnCommand { command: serve::command, run: |words| serve::main(words) }])
}
