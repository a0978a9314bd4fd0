//! `kafka-dump-log`, as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    ottla::tools::main_of("kafka-dump-log", std::env::args_os())
}
