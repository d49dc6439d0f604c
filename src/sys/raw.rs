//! The only unsafe code: two system calls that no maintained crate wraps. Each is called with values that the kernel
//! checks itself, on a descriptor that is borrowed for the length of the call, and neither keeps a pointer.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Begins to write back the dirty pages of `len` bytes from `offset`; does not wait for them, and promises nothing.
pub(super) fn start_writeback(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = (offset as libc::off64_t, len as libc::off64_t);
    // SAFETY: no memory is passed; the descriptor is open for as long as `fd` lives.
    let rc = unsafe { libc::sync_file_range(fd.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the kernel holds its clock for synchronised; `None` if it will not say.
pub(super) fn clock_synchronised() -> Option<bool> {
    // SAFETY: timex is plain integers, for which zero bytes are a valid value; `modes` 0 only reads.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live timex that the kernel fills.
    let state = unsafe { libc::adjtimex(&mut timex) };
    (state >= 0).then_some(state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0)
}
