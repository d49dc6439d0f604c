//! Signals as something to wait for and read, without a handler that does anything.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// What the operator or the system asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// End in order.
    Stop,
    /// Read the configuration again.
    Reload,
}

/// A flag that SIGTERM or SIGINT sets; a second one ends the process as if nobody listened.
pub fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// What SIGINT, SIGTERM and SIGHUP do to a process that has work to clear away: while it is [held](Self::hold) the first of them is
/// only noted. At any other time, and by a second one, the process ends as if nobody listened. Those that it was started to
/// ignore, as in the background of a script or by nohup, it ignores.
#[derive(Debug, Clone)]
pub struct Interrupts {
    came: Arc<AtomicUsize>,
    by_default: Arc<AtomicBool>,
}

impl Interrupts {
    /// Nothing is held yet.
    ///
    /// # Errors
    /// If the system does not let this process listen.
    pub fn new() -> io::Result<Self> {
        let interrupts = Self { came: Arc::default(), by_default: Arc::new(AtomicBool::new(true)) };
        let ignored = ignored();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if ignored & 1 << (signal - 1) != 0 {
                continue;
            }
            let Self { came, by_default } = &interrupts;
            signal_hook::flag::register_conditional_default(signal, Arc::clone(by_default))?;
            signal_hook::flag::register_usize(signal, Arc::clone(came), signal as usize)?;
            signal_hook::flag::register(signal, Arc::clone(by_default))?;
        }
        Ok(interrupts)
    }

    /// Those of no process: they come when [told](Self::tell).
    pub fn untold() -> Self {
        Self { came: Arc::default(), by_default: Arc::default() }
    }

    /// As if SIGINT had come.
    pub fn tell(&self) {
        self.came.store(SIGINT as usize, Ordering::SeqCst);
    }

    /// From now on the next one is only noted.
    pub fn hold(&self) {
        self.by_default.store(self.came().is_some(), Ordering::SeqCst);
    }

    /// From now on they end the process again.
    pub fn release(&self) {
        self.by_default.store(true, Ordering::SeqCst);
    }

    /// The number of the one that came, if one has.
    pub fn came(&self) -> Option<i32> {
        i32::try_from(self.came.load(Ordering::SeqCst)).ok().filter(|&signal| signal > 0)
    }
}

/// The signals that this process ignores, a bit each from 1; none if the system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Ends this process by a signal, as if nobody had listened: whoever started it, a shell in a loop, is told so.
pub fn end_by(signal: i32) -> io::Result<()> {
    signal_hook::low_level::emulate_default_handler(signal)
}

/// The signals of this process that have not been read yet.
pub struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// From now on SIGTERM, SIGINT and SIGHUP only make themselves known here.
    pub fn new() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        let signals = [SIGTERM, SIGINT, SIGHUP];
        Ok(Self(SignalDelivery::with_pipe(read, write, SignalOnly, signals)?))
    }

    /// Readable when a signal has come.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }

    /// Those that have come.
    pub fn pending(&mut self) -> Vec<Signal> {
        // The bytes only wake; leaving them would make the descriptor readable for ever.
        let _ = io::Read::read(&mut self.0.get_read(), &mut [0; 64]);
        let known = |signal| if signal == SIGHUP { Signal::Reload } else { Signal::Stop };
        self.0.pending().map(known).collect()
    }
}
