//! Signals as something to wait for and read, without a handler that does anything.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

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
