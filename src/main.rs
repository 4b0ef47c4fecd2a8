//! The binary: everything is in `caponier::cli`.

fn main() -> std::process::ExitCode {
    caponier::cli::main()
}
