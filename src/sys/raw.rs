//! The only unsafe code: three system calls that no maintained crate wraps. Each is called with values that the kernel
//! checks itself, on a descriptor that is borrowed for the length of the call, and none keeps a pointer.
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

/// What a driver is asked for that answers with plain words (`linux/ethtool.h`). None of it takes a privilege.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(super) enum Ethtool {
    /// `struct ethtool_ringparam`: most entries of the receive ring in word 1, entries in word 5.
    Rings = 0x10,
    /// `struct ethtool_value`, like all that follow: the value in word 1.
    ReceiveChecksums = 0x14,
    SendChecksums = 0x16,
    TcpSegmentation = 0x1e,
    GenericSegmentation = 0x23,
    Flags = 0x25,
    GenericReceive = 0x2b,
}

/// The words of the longest answer: `struct ethtool_ringparam`.
const ETHTOOL_WORDS: usize = 9;

/// Asks the driver of `interface`; `socket` is any socket of its network namespace.
pub(super) fn ethtool(
    socket: BorrowedFd<'_>,
    interface: &str,
    what: Ethtool,
) -> io::Result<[u32; ETHTOOL_WORDS]> {
    let mut words = [0; ETHTOOL_WORDS];
    words[0] = what as u32;
    // SAFETY: ifreq is plain integers and a pointer, for which zero bytes are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays NUL.
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: the request is live, and so are the words it points to, of which the kernel writes no more than the
    // structure of the command has; `Ethtool` names only commands whose structure fits.
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if rc >= 0 { Ok(words) } else { Err(io::Error::last_os_error()) }
}
