//! Random numbers that name things; nothing secret hangs on them.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// 64 random bits from the kernel.
pub fn random_u64() -> io::Result<u64> {
    let mut bits = [0; 8];
    let filled = getrandom(&mut bits, GetRandomFlags::empty())?;
    if filled == bits.len() { Ok(u64::from_le_bytes(bits)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        assert_ne!(super::random_u64().unwrap(), super::random_u64().unwrap());
    }
}
