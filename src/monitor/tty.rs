//! The terminal: what is typed, what is shown, and the loop from one command to the next.
#![deny(unsafe_code)]

use super::command::{COMMANDS, Command, find, parse};
use super::complete::{self, Lists};
use super::held::Held;
use super::line::{Event, Line};
use super::screen::{Screen, TYPED, key_within, wait};
use super::work::Work;
use super::{bench, files, look, power};
use crate::arch::irq::with_masked;
use crate::arch::{CpuId, cpu};
use crate::drivers::{console, semihosting};
use crate::init::Boot;
use crate::init::interrupts::{self, IrqReturn};
use crate::init::lkdtm::{self, Lkdtm};
use crate::{kprint, kprintln};
use arrayvec::ArrayString;
use core::fmt::{self, Write};
use log::warn;

const PROMPT: &str = "granule> ";

/// Returns true if the monitor's prompt is to be shown: `granule.monitor` or
/// `granule.monitor=off` decides; by default it is shown if there is no semihosting to give an
/// exit code to. The console must be a UART.
#[must_use]
pub fn is_wanted(boot: &Boot) -> bool {
    let asked = match boot.cmdline.granule("monitor") {
        None => !semihosting::present(),
        Some("off" | "0" | "n" | "no") => return false,
        Some(_) => true,
    };
    if asked && !console::has_input() {
        warn!("no monitor: the console is none that can be typed at");
    }
    asked && console::has_input()
}

/// Takes what was typed: from the UART's interrupt, and from the tick, which serves where there
/// is no interrupt and finds what one has missed.
fn received() -> IrqReturn {
    if console::receive() {
        TYPED.wake_up();
        IrqReturn::Handled
    } else {
        IrqReturn::None
    }
}

fn tick() {
    if with_masked(cpu::id) == CpuId::BOOT {
        received();
    }
}

/// Lets the console be typed at; with `granule.monitor=irq` by the interrupt alone.
fn listen(boot: &Boot) {
    let id = boot.tree.console_interrupt_id();
    let interrupts = id.is_some_and(|id| interrupts::request_irq(id, received).is_ok());
    console::listen(interrupts);
    if !interrupts || boot.cmdline.granule("monitor") != Some("irq") {
        interrupts::set_tick_hook(Some(tick));
    }
}

/// Echo of the line that is being typed.
struct Echo;

impl Write for Echo {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        kprint!("{s}");
        Ok(())
    }
}

/// State that commands act on and leave behind.
pub(super) struct Session<'a> {
    pub boot: &'a Boot,
    pub held: Held,
    pub work: Work,
    lkdtm: Lkdtm,
}

const LISTS: Lists =
    Lists { benches: bench::NAMES, faults: |f| lkdtm::faults().for_each(|(name, _)| f(name)) };

/// Reads commands and does what they say, for ever; `lkdtm` is for the command `fault`.
pub fn run(boot: &Boot, lkdtm: Lkdtm) -> ! {
    listen(boot);
    kprintln!("The monitor: 'help' lists the commands, Tab completes.");
    let mut session = Session { boot, held: Held::new(), work: Work::new(), lkdtm };
    let mut line = Line::new(PROMPT);
    loop {
        match console::take_overruns() {
            0 => {}
            lost => kprintln!("console: typed faster than read, lost some {lost} times"),
        }
        line.show(&mut Echo);
        if !read(&mut line) {
            continue;
        }
        let text = line.take();
        let mut screen = Screen::new();
        // What fails for another reason than Ctrl-C has said why.
        let _ = session.execute(&text, &mut screen);
        if screen.is_interrupted() {
            kprintln!("^C");
        }
    }
}

/// Reads a line from the console. Returns true if it was completed and not given up.
fn read(line: &mut Line) -> bool {
    let out = &mut Echo;
    loop {
        let Some(byte) = console::read() else {
            wait(None);
            continue;
        };
        match line.feed(byte, out) {
            Event::Typing => {}
            Event::Done => return true,
            Event::Cancelled => return false,
            Event::Complete => complete(line, out),
        }
    }
}

/// Completes what stands before the cursor, or shows what it could be.
fn complete(line: &mut Line, out: &mut Echo) {
    let typed = line.before_cursor();
    let found = complete::complete(typed, LISTS);
    if !found.rest.is_empty() {
        line.insert_str(&found.rest, out);
    } else if found.candidates > 1 {
        kprintln!();
        let mut column = 0;
        complete::list(typed, LISTS, &mut |name| {
            if column > 0 && column + name.len() > 76 {
                kprintln!();
                column = 0;
            }
            kprint!("{name:<18} ");
            column += name.len().max(18) + 1;
        });
        kprintln!();
        line.show(out);
    } else {
        kprint!("\x07");
    }
}

impl Session<'_> {
    /// Does what a line says.
    ///
    /// # Errors
    /// Ctrl-C.
    fn execute(&mut self, text: &str, out: &mut Screen) -> fmt::Result {
        match parse(text) {
            Ok(Some(Command::Watch(seconds, text))) => self.watch(seconds, text, out),
            Ok(Some(command)) => self.act(command, out),
            Ok(None) => Ok(()),
            Err(wrong) => writeln!(out, "{wrong}"),
        }
    }

    fn act(&mut self, command: Command<'_>, out: &mut Screen) -> fmt::Result {
        match command {
            Command::Help(name) => help(name, out),
            Command::Cat(path) => files::cat(path, out),
            Command::Ls(path) => files::ls(path, out),
            Command::Echo(text, path) => files::echo(text, path, out),
            Command::Dmesg => files::dmesg(out),
            Command::Watch(..) => writeln!(out, "watch: not within another"),
            Command::Top => look::top(out),
            Command::Slab(name) => look::slab(name, out),
            Command::Pt(va) => look::pt(va, out),
            Command::Page(pfn) => look::page(pfn, out),
            Command::Maps => look::maps(out),
            Command::Ps => look::ps(out),
            Command::Run(words) => super::work::run(words, out),
            Command::AllocPages(order, gfp) => self.held.alloc_pages(order, gfp, out),
            Command::AllocKmalloc(size, gfp) => self.held.kmalloc(size, gfp, out),
            Command::Vmalloc(size) => self.held.vmalloc(size, out),
            Command::CmaAlloc(pages) => self.held.cma_alloc(pages, out),
            Command::Cma => look::cma_areas(out),
            Command::Held => self.held.list(out),
            Command::Free(number) => self.held.free(number, out),
            Command::Fragment(true) => self.work.fragment(out),
            Command::Fragment(false) => self.work.release(out),
            Command::Compact => self.work.compact(out),
            Command::Stress(count, seed) => self.work.stress(count, seed, out),
            Command::Bench(name) => bench::run(name, out),
            Command::Date => look::date(out),
            Command::Fault(name) => fault(&self.lkdtm, name, out),
            Command::Reboot => power::reboot(&self.boot.tree, out),
            Command::Poweroff => power::poweroff(&self.boot.tree, out),
        }
    }

    /// Does what `text` says again and again, until a key.
    fn watch(&mut self, seconds: u32, text: &str, out: &mut Screen) -> fmt::Result {
        let command = match parse(text) {
            Ok(Some(Command::Watch(..) | Command::Top)) => {
                return writeln!(out, "watch: {text:?} does not end by itself");
            }
            Ok(Some(command)) => command,
            Ok(None) => return Ok(()),
            Err(wrong) => return writeln!(out, "{wrong}"),
        };
        loop {
            out.clear()?;
            writeln!(out, "Every {seconds}s: {text}   (a key ends it)\n")?;
            self.act(command, out)?;
            if key_within(seconds.max(1)) {
                return Ok(());
            }
        }
    }
}

/// Columns that `help` has for a command.
const HELP_COLUMN: usize = 26;

fn help(name: Option<&str>, out: &mut Screen) -> fmt::Result {
    match name.and_then(find) {
        Some(entry) => {
            writeln!(out, "usage: {} {}", entry.name, entry.arguments)?;
            writeln!(out, "{}", entry.what)
        }
        None => COMMANDS.iter().try_for_each(|entry| {
            let mut head = ArrayString::<64>::new();
            let _ = write!(head, "{} {}", entry.name, entry.arguments);
            if head.len() > HELP_COLUMN {
                writeln!(out, "  {head}")?;
                head.clear();
            }
            writeln!(out, "  {head:<HELP_COLUMN$} {}", entry.what)
        }),
    }
}

fn fault(lkdtm: &Lkdtm, name: Option<&str>, out: &mut Screen) -> fmt::Result {
    let Some(name) = name else {
        return lkdtm::faults().try_for_each(|(name, what)| writeln!(out, "  {name:<20} {what}"));
    };
    if lkdtm.do_action(name) {
        return Ok(());
    }
    writeln!(out, "fault: {name:?} is none; fault alone lists them")
}
