//! `kafka-console-producer`, as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    ottla::tools::main_of("kafka-console-producer", std::env::args_os())
}
