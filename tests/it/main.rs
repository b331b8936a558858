#[cfg(target_os = "linux")]
mod processes;
