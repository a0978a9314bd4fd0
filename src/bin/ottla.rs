use std::process::ExitCode;

fn main() -> ExitCode {
    ottla::tools::main(std::env::args_os())
}
