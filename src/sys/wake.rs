//! A descriptor that wakes a thread out of `poll`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Wakes whoever waits on it; clones wake the same one.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A new one.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Wakes; stays awake until [`wait`] has seen it.
    pub fn wake(&self) {
        // It fails only when the counter is full, and then the waiter is awake already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

/// Whether the other end of what `fd` writes to is gone; does not wait.
pub fn is_hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    let gone = PollFlags::ERR | PollFlags::HUP;
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1..)) && fds[0].revents().intersects(gone)
}

/// Waits until `fd` takes bytes or is in error, or the time is over.
pub fn wait_writable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], Some(&timespec(timeout))) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) }
}

/// Waits until `fd` (if any) is readable or in error, the waker was called, or the time is over.
pub fn wait(fd: Option<BorrowedFd<'_>>, waker: &Waker, timeout: Duration) -> io::Result<()> {
    let timeout = timespec(timeout);
    let waking = waker.0.as_fd();
    let mut fds =
        [PollFd::from_borrowed_fd(waking, PollFlags::IN), PollFd::from_borrowed_fd(waking, PollFlags::IN)];
    let mut count = 1;
    if let Some(fd) = fd {
        fds[1] = PollFd::from_borrowed_fd(fd, PollFlags::IN);
        count = 2;
    }
    match poll(&mut fds[..count], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    if !fds[0].revents().is_empty() {
        waker.clear();
    }
    Ok(())
}
