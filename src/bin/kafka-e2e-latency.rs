//! `kafka-e2e-latency`, as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    ottla::tools::main_of("kafka-e2e-latency", std::env::args_os())
}
