//! Everything in one program: `ottla serve` is the broker, everything else a tool.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    if args.nth(1).is_some_and(|word| word == "serve") {
        return ottla::broker::serve::main(args);
    }
    ottla::tools::main(std::env::args_os())
}
