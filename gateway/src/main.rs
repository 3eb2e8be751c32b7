//! The `fullmetal-gateway` program.

mod command;

fn main() -> std::process::ExitCode {
    command::main()
}
