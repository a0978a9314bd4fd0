//! `kafka-consumer-groups`, as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    ottla::tools::main_of("kafka-consumer-groups", std::env::args_os())
}
