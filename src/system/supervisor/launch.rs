//! From a spawn request to a running process: where the program may be, and what exec wants laid out.

use std::{
    ffi::{CStr, CString, c_char},
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

use rustix::process::{Resource, Rlimit};

use super::{
    sys::{Launch, Launcher},
    tag::Tags,
    wire::Stage,
};

/// Where a program is looked up when the environment has no `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/bin:/bin";

/// Up to this size arguments and environment fit into what the usual stack limit of 8 MiB allows.
const EVERYDAY_SIZE: usize = 1 << 20;

/// Starts the leaders of steps.
#[derive(Debug)]
pub struct Starter {
    launcher: Launcher,
    tags: Tags,
}

impl Starter {
    pub fn new(tags: Tags) -> Starter {
        Starter { launcher: Launcher::new(), tags }
    }

    /// Starts the program of a step. The process id, or where it failed and the errno.
    pub fn start(
        &mut self,
        step: u64,
        cwd: &CStr,
        argv: &[&CStr],
        env: &[&CStr],
        [stdout, stderr]: [BorrowedFd<'_>; 2],
    ) -> Result<i32, (Stage, i32)> {
        let program = argv.first().ok_or((Stage::Exec, libc::ENOENT))?;
        let candidates = candidates(program.to_bytes(), env);
        let size: usize = argv.iter().chain(env).map(|text| text.to_bytes_with_nul().len() + size_of::<usize>()).sum();
        self.launcher.launch(&Launch {
            candidates: &null_terminated(candidates.iter().map(CString::as_c_str)),
            argv: &null_terminated(argv.iter().copied()),
            env: &null_terminated(env.iter().copied()),
            cwd: cwd.as_ptr(),
            stdout: stdout.as_raw_fd(),
            stderr: stderr.as_raw_fd(),
            locks: self.tags.limit(step),
            stack: (size > EVERYDAY_SIZE).then(|| stack_for(size)),
        })
    }
}

/// The paths to try, in order. A name with a slash is itself the path.
fn candidates(program: &[u8], env: &[&CStr]) -> Vec<CString> {
    let path = env.iter().find_map(|variable| variable.to_bytes().strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    let paths: Vec<Vec<u8>> = if program.is_empty() {
        Vec::new()
    } else if program.contains(&b'/') {
        vec![program.to_vec()]
    } else {
        path.split(|byte| *byte == b':').map(|folder| joined(folder, program)).collect()
    };
    // Both parts came from C strings, so none holds a NUL byte.
    paths.into_iter().filter_map(|path| CString::new(path).ok()).collect()
}

/// An empty entry of `PATH` is the working directory.
fn joined(folder: &[u8], program: &[u8]) -> Vec<u8> {
    let folder = if folder.is_empty() { b"." } else { folder };
    [folder, b"/", program].concat()
}

fn null_terminated<'a>(texts: impl Iterator<Item = &'a CStr>) -> Vec<*const c_char> {
    texts.map(CStr::as_ptr).chain([ptr::null()]).collect()
}

/// The kernel gives arguments and environment a quarter of the stack limit, never more than 6 MiB.
fn stack_for(size: usize) -> Rlimit {
    let own = rustix::process::getrlimit(Resource::Stack);
    let wanted = size as u64 * 4 + (8 << 20);
    let within = own.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    Rlimit { current: own.current.map(|current| current.max(within)), maximum: own.maximum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_up_in_the_path_of_its_own_environment() {
        let all = |program: &CStr, env: &[&CStr]| candidates(program.to_bytes(), env);
        assert_eq!(all(c"true", &[c"A=1", c"PATH=/a::/b"]), [c"/a/true", c"./true", c"/b/true"].map(CString::from));
        assert_eq!(all(c"true", &[c"XPATH=/a"]), [c"/usr/bin/true", c"/bin/true"].map(CString::from));
        assert_eq!(all(c"./true", &[c"PATH=/a"]), [c"./true"].map(CString::from));
        assert!(all(c"", &[c"PATH=/a"]).is_empty());
    }
}
