//! The system calls that have no safe form: clone and exec, signal dispositions, reading a limit of another
//! process. The only unsafe code of the crate.
#![expect(unsafe_code, reason = "clone, sigaction, signalfd, prlimit and close_range have no safe form in rustix")]

use std::{
    ffi::{c_char, c_int, c_void},
    io, mem,
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

use rustix::process::Rlimit;

use super::wire::Stage;

const STACK: usize = 64 << 10;

/// All that a new process needs, laid out before it is made: between clone and exec nothing may allocate.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Paths of the program to try, in order. Null-terminated, as are `argv` and `env`.
    pub candidates: &'a [*const c_char],
    pub argv: &'a [*const c_char],
    pub env: &'a [*const c_char],
    pub cwd: *const c_char,
    pub stdout: RawFd,
    pub stderr: RawFd,
    pub locks: Rlimit,
    /// The stack limit to set; the kernel allows a quarter of it for arguments and environment.
    pub stack: Option<Rlimit>,
}

/// Makes processes the way posix_spawn does: the child borrows this process's memory until it execs, so the
/// cost does not grow with our size and an error is simply written down.
#[derive(Debug)]
pub struct Launcher {
    stack: Vec<u128>,
    parent: libc::pid_t,
}

struct Handover<'a> {
    launch: &'a Launch<'a>,
    parent: libc::pid_t,
    failed: Option<(Stage, c_int)>,
}

impl Launcher {
    pub fn new() -> Launcher {
        Launcher {
            stack: vec![0; STACK / size_of::<u128>()],
            // SAFETY: no arguments, cannot fail.
            parent: unsafe { libc::getpid() },
        }
    }

    /// Starts the program in a session of its own. The process id, or where it failed and the errno.
    ///
    /// The caller must have called [`own_signals`], and have one thread: a handler that ran in the child
    /// would run in our memory.
    pub fn launch(&mut self, launch: &Launch<'_>) -> Result<i32, (Stage, c_int)> {
        let terminated = |list: &[*const c_char]| list.last().is_some_and(|last| last.is_null());
        if !(terminated(launch.candidates) && terminated(launch.argv) && terminated(launch.env)) {
            return Err((Stage::Setup, libc::EINVAL));
        }
        let mut handover = Handover { launch, parent: self.parent, failed: None };
        let top = self.stack.as_mut_ptr_range().end;
        // SAFETY: CLONE_VFORK suspends this thread until the child has exec'd or exited, so `handover`, the
        // strings behind it and the stack outlive the child's use of them, and nothing here runs meanwhile.
        // The stack is ours, 16-byte aligned, and used by one child at a time.
        let pid = unsafe {
            libc::clone(
                child,
                top.cast(),
                libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                (&raw mut handover).cast::<c_void>(),
            )
        };
        if pid < 0 {
            return Err((Stage::Clone, io::Error::last_os_error().raw_os_error().unwrap_or(0)));
        }
        // SAFETY: the child wrote it through the pointer, before this thread went on.
        match unsafe { (&raw const handover.failed).read_volatile() } {
            None => Ok(pid),
            Some(failed) => {
                // SAFETY: our own child, which has exited; nobody else waits for it.
                unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
                Err(failed)
            }
        }
    }
}

/// Runs in the new process, in the parent's memory: system calls only.
extern "C" fn child(argument: *mut c_void) -> c_int {
    // SAFETY: `launch` passes a Handover that nobody else touches until this process execs or exits.
    let handover = unsafe { &mut *argument.cast::<Handover<'_>>() };
    let failed = become_step(handover.launch, handover.parent);
    // SAFETY: the field is ours to write; volatile because the reader is another process.
    unsafe { (&raw mut handover.failed).write_volatile(Some(failed)) };
    // SAFETY: ends this process only, without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

/// Returns only when it failed.
fn become_step(launch: &Launch<'_>, parent: libc::pid_t) -> (Stage, c_int) {
    // SAFETY: plain system calls on valid descriptors, null-terminated strings and lists that the parent keeps
    // alive; each is async-signal-safe. All dispositions are default here, so no handler runs.
    unsafe {
        let ready = libc::setsid() >= 0
            && libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0
            // The parent may have died before the line above.
            && libc::getppid() == parent
            && libc::dup2(launch.stdout, 1) >= 0
            && libc::dup2(launch.stderr, 2) >= 0;
        if !ready {
            return (Stage::Setup, *libc::__errno_location());
        }
        // Best effort: without the tag the step's tree is known by its session only.
        set_limit(libc::RLIMIT_LOCKS, launch.locks);
        if let Some(stack) = launch.stack {
            set_limit(libc::RLIMIT_STACK, stack);
        }
        if libc::chdir(launch.cwd) != 0 {
            return (Stage::Cwd, *libc::__errno_location());
        }
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        (Stage::Exec, exec(launch))
    }
}

/// Tries the candidates as execvp does and answers the errno that says most.
///
/// # Safety
/// As [`become_step`].
unsafe fn exec(launch: &Launch<'_>) -> c_int {
    let mut answer = libc::ENOENT;
    for candidate in launch.candidates.iter().take_while(|candidate| !candidate.is_null()) {
        // SAFETY: see the function.
        let errno = unsafe {
            libc::execve(*candidate, launch.argv.as_ptr(), launch.env.as_ptr());
            *libc::__errno_location()
        };
        match errno {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => answer = errno,
            _ => return errno,
        }
    }
    answer
}

unsafe fn set_limit(resource: libc::__rlimit_resource_t, limit: Rlimit) {
    let infinite = libc::RLIM64_INFINITY;
    let limit =
        libc::rlimit64 { rlim_cur: limit.current.unwrap_or(infinite), rlim_max: limit.maximum.unwrap_or(infinite) };
    // SAFETY: a valid pointer for the length of the call.
    unsafe { libc::setrlimit64(resource, &raw const limit) };
}

/// `RLIMIT_LOCKS` of a process, soft and hard, if we may know it.
pub fn locks_limit(pid: i32) -> Option<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: only reads the limit; the pointer is valid for the length of the call.
    let answer = unsafe { libc::prlimit64(pid, libc::RLIMIT_LOCKS, ptr::null(), &raw mut limit) };
    (answer == 0).then_some((limit.rlim_cur, limit.rlim_max))
}

/// Gives every signal its default disposition, blocks all, and answers a non-blocking descriptor that becomes
/// readable on SIGCHLD. Steps inherit the dispositions; without handlers nothing can run in a half-made child.
pub fn own_signals() -> io::Result<OwnedFd> {
    // SAFETY: valid pointers to locals; the new descriptor is owned by nobody else.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&raw mut set);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        for signal in 1..=libc::SIGRTMAX() {
            // All zeros is SIG_DFL. Past the C library, which refuses its own two signals, though whoever started
            // us may have ignored them; KILL and STOP refuse and are what they are.
            let default = [0_u64; 4];
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null_mut::<u64>(), 8_usize);
        }
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        let descriptor = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

/// Closes every descriptor above standard error, whatever it is. Only for the start of a process that owns none.
pub fn close_inherited() {
    // SAFETY: called before anything of this process opened a descriptor, so none in use is closed.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}
