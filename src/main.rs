//! Parse, log, build, run, exit code.

fn main() -> std::process::ExitCode {
    anteroom::cli::main()
}
