//! `kafka-console-consumer`, as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    ottla::tools::main_of("kafka-console-consumer", std::env::args_os())
}
