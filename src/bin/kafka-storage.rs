//! `kafka-storage`, as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    ottla::tools::main_of("kafka-storage", std::env::args_os())
}
