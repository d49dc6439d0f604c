//! The terminal while a live view has it: entered once, and left as it was however the view ends.

use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::model::{Key, Model};
use super::view::{self, Look};
use crate::cli::output::Output;
use crate::sys::wake::{Waker, is_hung_up, wait};

/// The terminal; left when dropped, and before a panic is told.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Box<dyn Write>>>,
    look: Look,
    waker: Waker,
    /// Whether a panic is still to be told on it.
    entered: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal: its keys come one by one from here on, and what was on it comes back in the end.
    ///
    /// # Errors
    /// If it cannot be set up; then it is as it was.
    pub(super) fn enter(out: &mut Output) -> io::Result<Self> {
        let look = Look { colour: out.has_colour() };
        let waker = Waker::new()?;
        let entered = Arc::new(AtomicBool::new(true));
        enable_raw_mode()?;
        restore_on_panic(Arc::clone(&entered));
        let mut out = out.take_bytes();
        let terminal = execute!(out, EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(out)))
            .and_then(|mut terminal| terminal.hide_cursor().map(|()| terminal));
        match terminal {
            Ok(terminal) => Ok(Self { terminal, look, waker, entered }),
            Err(error) => {
                entered.store(false, Ordering::SeqCst);
                restore(Output::stdio().take_bytes());
                Err(error)
            }
        }
    }

    /// Draws what has changed.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn draw(&mut self, model: &Model) -> io::Result<()> {
        self.terminal.draw(|frame| view::draw(frame, model, self.look)).map(|_| ())
    }

    /// Waits so long for a key or for another size; what else comes is none of ours.
    ///
    /// # Errors
    /// If the terminal cannot be read.
    pub(super) fn wait(&mut self, longest: Duration) -> io::Result<Option<Input>> {
        let keys = io::stdin();
        wait(Some(keys.as_fd()), &self.waker, longest)?;
        // Of a terminal that has gone crossterm would read for ever.
        if is_hung_up(keys.as_fd()) {
            return Ok(Some(Input::Gone));
        }
        if !event::poll(Duration::ZERO)? {
            return Ok(None);
        }
        Ok(match event::read()? {
            Event::Key(pressed) if pressed.kind != KeyEventKind::Release => key(&pressed).map(Input::Key),
            Event::Resize(..) => Some(Input::Resized),
            _ => None,
        })
    }
}

/// What a person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Key(Key),
    Resized,
    /// The terminal has gone.
    Gone,
}

fn key(pressed: &KeyEvent) -> Option<Key> {
    Some(match pressed.code {
        KeyCode::Char('c') if pressed.modifiers.contains(KeyModifiers::CONTROL) => Key::Interrupt,
        KeyCode::Char('u') if pressed.modifiers.contains(KeyModifiers::CONTROL) => Key::Kill,
        KeyCode::Char(_) if pressed.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => {
            return None;
        }
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Tab | KeyCode::Right => Key::Tab,
        KeyCode::BackTab | KeyCode::Left => Key::BackTab,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.entered.swap(false, Ordering::SeqCst) {
            restore(self.terminal.backend_mut());
        }
    }
}

/// Nothing is to be done about a terminal that has gone.
fn restore(mut out: impl Write) {
    let _ = execute!(out, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// Else what a panic says would be drawn over, and gone with the screen.
fn restore_on_panic(entered: Arc<AtomicBool>) {
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if entered.swap(false, Ordering::SeqCst) {
            restore(Output::stdio().take_bytes());
        }
        told(info);
    }));
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Read as _;
    use std::process::Command;

    use rustix::fs::{OFlags, fcntl_setfl};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::tcgetattr;

    use super::*;

    #[test]
    #[ignore = "no test of its own: a_panic_is_told_on_a_terminal_as_it_was starts it on a terminal"]
    fn panics_on_a_screen() {
        let _screen = Screen::enter(&mut Output::stdio()).unwrap();
        panic!("on purpose");
    }

    #[test]
    fn a_panic_is_told_on_a_terminal_as_it_was() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).and_then(|()| unlockpt(&master)).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let modes =
            || tcgetattr(&slave).map(|now| (now.local_modes, now.input_modes, now.output_modes)).unwrap();
        let before = modes();
        let stream = || slave.try_clone().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cli::top::screen::tests::panics_on_a_screen", "--ignored", "--nocapture"])
            .env("TERM", "xterm")
            .env_remove("RUST_BACKTRACE")
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .unwrap();
        child.wait().unwrap();
        fcntl_setfl(&master, OFlags::NONBLOCK).unwrap();
        let mut shown = Vec::new();
        let mut master = File::from(master);
        // It ends with "would block".
        let _ = master.read_to_end(&mut shown);
        let shown = String::from_utf8_lossy(&shown);
        let places = ["\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h", "on purpose"].map(|text| shown.find(text));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}: {shown:?}");
        assert_eq!(modes(), before);
    }
}
