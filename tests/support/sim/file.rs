//! An open file of a simulated file system.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::sync::MutexGuard;

use rustix::io::Errno;
use tapkeep::sys::fs::FsFile;

use super::SimFs;
use super::content::PAGE;
use super::world::{Fault, World};

/// A handle; the file's space stays taken while it lives.
pub struct SimFile {
    pub fs: SimFs,
    pub path: PathBuf,
    pub number: u64,
    pub writable: bool,
}

impl SimFile {
    fn operation(
        &self,
        verb: &str,
        rest: impl Display,
    ) -> io::Result<(MutexGuard<'_, World>, Option<Fault>)> {
        let mut world = self.fs.world();
        let fault = world.operation(format_args!("{verb} {}{rest}", self.path.display()))?;
        Ok((world, fault))
    }

    fn may_write(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(Errno::BADF.into()) }
    }
}

impl FsFile for SimFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let (mut world, fault) = self.operation("write", format_args!(" @{offset} +{}", buf.len()))?;
        self.may_write()?;
        let buf = match fault {
            Some(Fault::ShortWrite(most)) => &buf[..buf.len().min(most)],
            _ => buf,
        };
        let free = world.free() / PAGE;
        match world.content(self.number).write(buf, offset, free) {
            0 if !buf.is_empty() => Err(Errno::NOSPC.into()),
            done => Ok(done),
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let (mut world, _) = self.operation("read", format_args!(" @{offset} +{}", buf.len()))?;
        Ok(world.content(self.number).read(buf, offset))
    }

    fn start_writeback(&self, offset: u64, len: u64) -> io::Result<()> {
        let (mut world, _) = self.operation("writeback", format_args!(" @{offset} +{len}"))?;
        world.content(self.number).begin_writeback(offset, len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let (mut world, fault) = self.operation("sync", "")?;
        let content = world.content(self.number);
        if fault == Some(Fault::LostPages) {
            content.lose_dirty();
            return Err(Errno::IO.into());
        }
        content.sync();
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let (mut world, _) = self.operation("truncate", format_args!(" to {len}"))?;
        self.may_write()?;
        world.content(self.number).truncate(len);
        Ok(())
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        let (mut world, _) = self.operation("reserve", format_args!(" @{offset} +{len}"))?;
        self.may_write()?;
        let free = world.free() / PAGE;
        match world.content(self.number).reserve(offset, len, free) {
            true => Ok(()),
            false => Err(Errno::NOSPC.into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        let (mut world, _) = self.operation("len", "")?;
        Ok(world.content(self.number).cached.len() as u64)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        // A test that failed while it held the world has poisoned it; nothing is left to count then.
        if let Ok(mut world) = self.fs.0.lock() {
            world.content(self.number).handles -= 1;
            world.forget_unreachable();
        }
    }
}
