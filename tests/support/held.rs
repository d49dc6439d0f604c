//! One thread of another process held still, as if it were that slow, while the others run on.

use std::process::Command;

use super::process::{Process, wait_until};

/// PTRACE_SEIZE and PTRACE_INTERRUPT; the thread runs on when its tracer ends.
const HOLD: &str = "import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
tid = int(sys.argv[1])
for request in (0x4206, 0x4207):
    if libc.ptrace(request, tid, None, None):
        raise OSError(ctypes.get_errno(), 'ptrace')
os.waitpid(tid, 0x40000000)
print('held', flush=True)
time.sleep(600)";

/// A thread that stands still until this is dropped.
pub struct Held {
    _tracer: Process,
}

impl Held {
    /// Holds the thread of that name.
    pub fn new(process: &Process, name: &str) -> Self {
        let thread = std::fs::read_dir(format!("/proc/{}/task", process.id()))
            .unwrap()
            .map(|task| task.unwrap())
            .find(|task| std::fs::read_to_string(task.path().join("comm")).unwrap().trim() == name)
            .unwrap_or_else(|| panic!("no thread {name}"));
        let mut command = Command::new("python3");
        let mut tracer = Process::start(command.args(["-c", HOLD]).arg(thread.file_name()));
        wait_until("the thread to be held", || {
            assert!(tracer.is_running(), "{}", tracer.last_words());
            tracer.stdout().starts_with(b"held")
        });
        Self { _tracer: tracer }
    }
}
