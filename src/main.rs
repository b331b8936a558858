use std::process::ExitCode;

fn main() -> ExitCode {
    // A supervisor must be one before anything else happens in the process.
    if let Some(code) = opsroom::system::supervisor_hook() {
        return code;
    }
    opsroom::cli::main()
}
