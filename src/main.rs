//! The `fullmetal` program: peer, agent, publisher and the commands of operators and builders.

mod command;

fn main() -> std::process::ExitCode {
    command::main()
}
