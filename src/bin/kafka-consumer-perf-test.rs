//! `kafka-consumer-perf-test`, as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    ottla::tools::main_of("kafka-consumer-perf-test", std::env::args_os())
}
