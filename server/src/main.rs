//! `lacuna`: the one binary.

fn main() -> std::process::ExitCode {
    lacuna::main()
}
