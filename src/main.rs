use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = opsroom::system::supervisor_hook() {
        return code;
    }
    ExitCode::SUCCESS
}
