//! `tapkeep top`: what passes the tap now, live in the terminal.
//!
//! One thread does almost all of it, in turns: a turn takes what was typed, looks at the state file once a second, and draws what has
//! changed, at most twice a second unless somebody types. The questions to the captures are asked between turns, no longer than a tenth of
//! the time, and take turns while they read packets, so that keys are answered meanwhile. What is written to a file is written by a
//! thread of its own.

mod gather;
mod model;
mod screen;
mod view;

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::io::{self, IsTerminal as _};
use std::panic::resume_unwind;
use std::path::Path;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use chrono::DateTime;
use clap::Args;

use self::gather::{Gatherer, Service};
use self::model::{Act, Message, Model};
use self::screen::{Input, Screen};
use super::output::{Exit, Output, UsageError, with_causes};
use super::select::SelectArgs;
use super::table::duration;
use super::time::Ago;
use super::zone::Here;
use super::{Context, extract};
use crate::detect::Net;
use crate::packet::NANOS_PER_SEC;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::signals::{Interrupts, Signals};

/// How far back the lists reach unless told, nanoseconds.
const WINDOW: i64 = 5 * 60 * NANOS_PER_SEC;

/// How often the state is looked at.
const SECOND: Duration = Duration::from_secs(1);

/// The shortest time between two frames that nobody has asked for by a key.
const FRAME: Duration = Duration::from_millis(500);

/// How long is waited for a key; a signal is seen within it.
const TURN: Duration = Duration::from_millis(200);

/// The shortest time between two questions to the captures.
const QUESTION: Duration = Duration::from_secs(2);

/// How much longer than a question takes none is asked.
const REST: u32 = 9;

/// What `top` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Keys: Tab and the arrows choose, Enter opens a finding or shows one host alone, s sorts, / asks for
a host, p pauses, w writes a finding's packets to a file, ? explains, q quits.

Examples:
  tapkeep top
  tapkeep top --last 15m
  tapkeep top --host 192.168.1.0/24
  ssh -t board tapkeep top")]
pub(super) struct TopArgs {
    /// How far back endpoints, conversations and protocols reach [default: 5m]
    #[arg(long, value_name = "DURATION")]
    last: Option<Ago>,
    /// Only hosts of this network, or this host
    #[arg(long, value_name = "NET")]
    host: Option<Net>,
}

pub(super) fn top(args: &TopArgs, context: &Context, out: &mut Output) -> Result<Exit> {
    if !out.is_drawable() {
        bail!(UsageError(
            "top draws on a terminal, and standard output is none that it can draw on: over SSH take ssh -t; for programs \
             there are `tapkeep status --watch` and `tapkeep conversations --last 5m`"
                .to_owned()
        ));
    }
    if !io::stdin().is_terminal() {
        bail!(UsageError(
            "top takes keys from a terminal, and standard input is none: leave it to the terminal".to_owned()
        ));
    }
    let window = args.last.map_or(WINDOW, Ago::nanos).max(NANOS_PER_SEC);
    let gatherer = Gatherer::new(context, window);
    let model = Model {
        service: gatherer.service()?,
        window: duration(u64::try_from(window / 1_000_000).unwrap_or(0)),
        hosts: args.host,
        ..Model::default()
    };
    let signals = Signals::new().context("listen for signals")?;
    let screen = Screen::enter(out).context("set up the terminal")?;
    Top { gatherer: &gatherer, desk: RefCell::new(Desk::new(model, screen, signals)), context }.run()
}

/// What a turn works with.
struct Desk {
    model: Model,
    screen: Screen,
    signals: Signals,
    /// What keys have asked for and nobody has done.
    acts: Vec<Act>,
    /// Whether to ask the captures at once.
    ask: bool,
    quit: bool,
    looked: Option<Instant>,
    drawn: Option<Instant>,
    /// Whether something has changed since.
    changed: bool,
}

impl Desk {
    fn new(model: Model, screen: Screen, signals: Signals) -> Self {
        Self {
            model,
            screen,
            signals,
            acts: Vec::new(),
            ask: true,
            quit: false,
            looked: None,
            drawn: None,
            changed: true,
        }
    }

    /// Takes a turn that waits so long for a key.
    fn turn(&mut self, gatherer: &Gatherer<'_>, longest: Duration) -> Result<()> {
        self.look(gatherer)?;
        if self.changed && self.drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME) {
            self.draw()?;
        }
        let mut typed = false;
        let mut wait = longest;
        while let Some(input) = self.screen.wait(wait).context("read the terminal")? {
            (wait, typed) = (Duration::ZERO, true);
            if input == Input::Gone {
                self.quit = true;
                return Ok(());
            }
            if let Input::Key(key) = input {
                match self.model.key(key) {
                    Some(Act::Quit) => self.quit = true,
                    Some(Act::Ask) => self.ask = true,
                    Some(act) => self.acts.push(act),
                    None => {}
                }
            }
        }
        self.quit |= !self.signals.pending().is_empty() || super::terminal::is_unread();
        if typed && !self.quit { self.draw() } else { Ok(()) }
    }

    /// Looks at the service once a second, unless the picture is to stand still.
    fn look(&mut self, gatherer: &Gatherer<'_>) -> Result<()> {
        if self.model.paused || self.looked.is_some_and(|looked| looked.elapsed() < SECOND) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        self.model.service = gatherer.service()?;
        let now = DateTime::from_timestamp_nanos(RealClock.now().wall).with_timezone(&Here);
        let is_utc = now.offset().local_minus_utc() == 0;
        self.model.clock = now.format(if is_utc { "%H:%M:%S UTC" } else { "%H:%M:%S%:z" }).to_string();
        self.changed = true;
        Ok(())
    }

    fn draw(&mut self) -> Result<()> {
        self.screen.draw(&self.model).context("write the terminal")?;
        (self.drawn, self.changed) = (Some(Instant::now()), false);
        Ok(())
    }

    fn say(&mut self, text: String, bad: bool) {
        self.model.message = Some(Message { text, bad });
        // Somebody waits for it.
        (self.changed, self.drawn) = (true, None);
    }
}

struct Top<'a> {
    gatherer: &'a Gatherer<'a>,
    desk: RefCell<Desk>,
    context: &'a Context,
}

impl Top<'_> {
    fn run(self) -> Result<Exit> {
        let mut due = Instant::now();
        loop {
            let (acts, asked, is_due) = {
                let mut desk = self.desk.borrow_mut();
                desk.turn(self.gatherer, TURN)?;
                if desk.quit {
                    return Ok(Exit::Ok);
                }
                let is_due = Instant::now() >= due && !desk.model.paused;
                (std::mem::take(&mut desk.acts), std::mem::take(&mut desk.ask), is_due)
            };
            for act in acts {
                self.act(act)?;
            }
            if asked || is_due {
                let begun = Instant::now();
                self.ask(asked)?;
                due = Instant::now() + (begun.elapsed() * REST).max(QUESTION);
            }
        }
    }

    /// Asks the captures, taking turns meanwhile; where nothing runs only if something has changed, or a person `asked`. Whoever asks
    /// for other hosts meanwhile ends the question: it is asked anew.
    fn ask(&self, asked: bool) -> Result<()> {
        let (hosts, absent) = {
            let desk = self.desk.borrow();
            (desk.model.hosts, matches!(desk.model.service, Service::Absent(_)))
        };
        let kept = absent.then(|| self.gatherer.kept()).transpose()?;
        if !asked && kept.is_some() && kept == self.desk.borrow().model.kept {
            return Ok(());
        }
        let failed = Cell::new(None);
        let meanwhile = || {
            let mut desk = self.desk.borrow_mut();
            if let Err(error) = desk.turn(self.gatherer, Duration::ZERO) {
                failed.set(Some(error));
                return false;
            }
            !desk.quit && !desk.ask
        };
        let found = self.gatherer.found(hosts, kept, &meanwhile);
        if let Some(error) = failed.take() {
            return Err(error);
        }
        let mut desk = self.desk.borrow_mut();
        match found {
            Ok(Some(found)) => {
                desk.model.kept = kept;
                desk.model.take(found);
                desk.changed = true;
            }
            Ok(None) => {}
            // What could be read a moment ago may be readable in the next.
            Err(error) if desk.model.found.is_some() => desk.say(with_causes(&error), true),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes a finding's packets, taking turns meanwhile; whoever quits gives them up.
    fn act(&self, act: Act) -> Result<()> {
        let Act::Write { id, path } = act else { return Ok(()) };
        let mut desk = self.desk.borrow_mut();
        desk.say(format!("writing {path} …"), false);
        let (context, giving_up) = (self.context, &Interrupts::untold());
        let (text, bad) = thread::scope(|scope| {
            let writer = scope.spawn(|| write(id, &path, context, giving_up.clone()));
            let mut turned = Ok(());
            while turned.is_ok() && !desk.quit && !writer.is_finished() {
                turned = desk.turn(self.gatherer, TURN);
            }
            if turned.is_err() || desk.quit {
                giving_up.tell();
            }
            let written = writer.join().unwrap_or_else(|panic| resume_unwind(panic));
            turned.map(|()| written)
        })?;
        desk.say(text, bad);
        Ok(())
    }
}

/// Writes a finding's packets as `suspicious -w` does; tells what came of it.
fn write(id: String, path: &str, context: &Context, giving_up: Interrupts) -> (String, bool) {
    let said = Said::default();
    let mut out = Output::to(io::sink(), said.clone(), false).ended_by(giving_up);
    let select = SelectArgs { finding: vec![id], ..SelectArgs::default() };
    let result = extract::findings(select, &[], Path::new(path), context, &mut out);
    let said = said.text();
    match result {
        Ok(Exit::Ok) => (format!("{path}: {said}"), false),
        Ok(_) => (format!("{path}: {said}"), true),
        Err(error) => (with_causes(&error), true),
    }
}

/// What a command would say on standard error.
#[derive(Clone, Default)]
struct Said(Rc<RefCell<Vec<u8>>>);

impl Said {
    /// In one line, without what each line begins with there.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0.borrow()).into_owned();
        let lines: Vec<_> = text.lines().map(|line| line.trim_start_matches("tapkeep: note: ")).collect();
        lines.join("; ")
    }
}

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
