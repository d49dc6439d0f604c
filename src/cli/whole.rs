//! Files that a command makes for its caller: readable by the caller alone, and whole or not there.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::output::Interrupted;
use crate::sys::signals::Interrupts;
use crate::sys::wake::wait_writable;

/// How long a pipe is waited for until it is asked whether anybody still wants that.
const TURN: Duration = Duration::from_millis(100);

/// Writes beside `path` and renames when all is there, so that nobody finds a half. What is no regular file, as a pipe, is
/// written as it is, and whoever waits for its reader gives up by `interrupts`.
///
/// # Errors
/// If nothing can be made there, and those of `fill`; then nothing is left.
pub(super) fn write<T>(
    path: &Path,
    interrupts: Option<Interrupts>,
    fill: impl FnOnce(Outlet) -> Result<T>,
) -> Result<T> {
    // What a link leads to is replaced, not the link.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let regular = path.metadata().map_or(true, |meta| meta.is_file());
    let suffix = format!(".{}.tmp", std::process::id());
    let beside = if regular { with_suffix(path, &suffix) } else { path.to_owned() };
    let file = if regular { create(&beside) } else { open(path, interrupts.as_ref()) };
    let file = file.map_err(|error| match error {
        error if error.get_ref().is_some_and(|inner| inner.is::<Interrupted>()) => error.into(),
        error => {
            let path = path.display();
            anyhow!("create {path}: {error}; name a file in a directory that exists and that you may write")
        }
    });
    let result = file.and_then(|file| fill(Outlet { file, interrupts })).and_then(|filled| {
        if regular {
            std::fs::rename(&beside, path)?;
        }
        Ok(filled)
    });
    if result.is_err() && regular {
        let _ = std::fs::remove_file(&beside);
    }
    // What has words of its own is about what was to be written.
    result.map_err(|error| match error.chain().nth(1) {
        None if error.is::<io::Error>() || error.is::<Interrupted>() => {
            error.context(format!("write {}", path.display()))
        }
        _ => error,
    })
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Opens what is there, so that no write to it waits by itself. A pipe is opened when somebody reads it.
fn open(path: &Path, interrupts: Option<&Interrupts>) -> io::Result<File> {
    loop {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        match OpenOptions::new().write(true).custom_flags(flags).open(path) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NXIO) && is_pipe(path) => {
                go_on(interrupts)?;
                std::thread::sleep(TURN);
            }
            opened => return opened,
        }
    }
}

fn is_pipe(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.file_type().is_fifo())
}

fn go_on(interrupts: Option<&Interrupts>) -> io::Result<()> {
    let came = interrupts.and_then(Interrupts::came);
    came.map_or(Ok(()), |_| Err(io::Error::other(Interrupted)))
}

/// Where a file's bytes go.
pub(super) struct Outlet {
    file: File,
    interrupts: Option<Interrupts>,
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    go_on(self.interrupts.as_ref())?;
                    wait_writable(self.file.as_fd(), TURN)?;
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_whole_and_its_callers_alone_or_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&path, "before").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let failed = write(&link, None, |mut file| {
            file.write_all(b"half")?;
            Err::<(), _>(anyhow!("no more"))
        });
        assert!(format!("{:#}", failed.unwrap_err()).ends_with("no more"));
        assert_eq!(std::fs::read(&path).unwrap(), b"before");
        write(&link, None, |mut file| Ok(file.write_all(b"whole")?)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(dir.path()), ["a", "b"]);
    }

    /// What comes of a megabyte into a pipe that is given up after a moment.
    fn given_up(pipe: &Path) -> String {
        let interrupts = Interrupts::untold();
        let given_up = interrupts.clone();
        let teller = std::thread::spawn(move || {
            std::thread::sleep(TURN * 3);
            given_up.tell();
        });
        let begun = Instant::now();
        let result = write(pipe, Some(interrupts), |mut file| Ok(file.write_all(&[0; 1 << 20])?));
        assert!(begun.elapsed() >= TURN * 3, "it waits until then");
        teller.join().unwrap();
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_waited_for_until_that_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        let told = format!("write {}: interrupted", pipe.canonicalize().unwrap().display());
        assert_eq!(given_up(&pipe), told, "nobody has opened it");
        let reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        assert_eq!(given_up(&pipe), told, "nobody empties it");
        drop(reader);
        let reading = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read(pipe).unwrap().len()
        });
        write(&pipe, None, |mut file| Ok(file.write_all(&[0; 1 << 20])?)).unwrap();
        assert_eq!(reading.join().unwrap(), 1 << 20);
        assert_eq!(names(dir.path()), ["pipe"]);
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(write(&socket, None, |_| Ok(())).is_err(), "no waiting for what is no pipe");
    }
}
