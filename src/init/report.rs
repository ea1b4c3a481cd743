//! Report at the end of the boot.

use super::start::Boot;
use super::steps::Steps;
use crate::arch::{cpu, cpu_errata, features, smp};
use crate::drivers::console;
use crate::kprint;
use crate::mm::stat::Line;
use crate::mm::{cma, ptdump, stat};
use core::fmt::{self, Write};

/// Name of a report, and the function that prints it.
type Named = (&'static str, fn(&Boot));

/// The values of `granule.report=`: several, with commas between them, are printed one after
/// the other.
const REPORTS: [Named; 3] = [
    ("short", |boot| kprint!("\n{}", Short(&boot.steps))),
    ("full", |boot| full(&boot.steps)),
    ("none", |_| ()),
];

/// Prints memory's state, so that it fits a screen; or what `granule.report=` asks for.
pub fn print(boot: &Boot) {
    let asked = boot.cmdline.granule("report").unwrap_or("short");
    let known = |word: &str| REPORTS.iter().find(|(name, _)| *name == word);
    let unknown = asked.split(',').find(|word| known(word).is_none());
    if let Some(word) = unknown {
        log::error!(
            "granule.report={asked}: there is no {word:?}; there are short (the default), full and \
             none, or several with commas between them"
        );
    }
    let asked = if unknown.is_some() { "short" } else { asked };
    for (_, print) in asked.split(',').filter_map(known) {
        print(boot);
    }
}

/// The report of 22 lines at most, so that a prompt fits the screen too.
struct Short<'a>(&'a Steps);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}\n", cpus(), enabled(), acted_on())?;
        writeln!(f, "{}", stat::Overview)?;
        boot_time(f, self.0)?;
        warnings(f)
    }
}

fn cpus() -> Line {
    let (name, cpus) = (features::cpu_name(), smp::online().count());
    let mut line = Line::new("CPU");
    let bits = features::physical_address_bits();
    let _ = write!(line, "{cpus} x {name}, {bits}-bit physical addresses");
    line
}

fn enabled() -> Line {
    let mut line = Line::new("Features");
    for name in features::features().names() {
        let _ = write!(line, "{name} ");
    }
    line
}

fn acted_on() -> Line {
    let mut line = Line::new("Errata");
    if cpu_errata::found().next().is_none() {
        let _ = write!(line, "none that this kernel has to act on");
    }
    line.list(&mut cpu_errata::found().map(|erratum| erratum.name).peekable());
    line
}

/// Prints the duration of the boot by the timer, its cycles, and the share of the longest steps:
/// two lines.
fn boot_time(f: &mut fmt::Formatter<'_>, steps: &Steps) -> fmt::Result {
    let (millis, cycles) = (cpu::sched_clock() / 1_000_000, steps.total());
    let mut line = Line::new("Boot");
    let _ = write!(line, "{}.{:03} s, ", millis / 1000, millis % 1000);
    if cycles == 0 {
        let _ = write!(line, "and this CPU counts no cycles");
        return writeln!(f, "{line}");
    }
    let _ = write!(line, "{}.{} M cycles: ", cycles / 1_000_000, cycles / 100_000 % 10);
    let shares = steps.longest().map(|(name, of)| Share(of * 100 / cycles, name));
    let mut shares = shares.filter(|share| share.0 > 0).peekable();
    line.list(&mut shares);
    let mut rest = Line::new("");
    rest.list(&mut shares);
    writeln!(f, "{line}\n{rest}")
}

/// Prints the number of warnings, and the first and the last.
fn warnings(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let warnings = console::warnings();
    let mut line = Line::new("Warnings");
    match warnings.count {
        0 => write!(line, "none")?,
        1 => write!(line, "1: {}", warnings.first)?,
        n => write!(line, "{n}, the first: {}", warnings.first)?,
    }
    writeln!(f, "{line}")?;
    if warnings.count > 1 {
        let mut line = Line::new("");
        write!(line, "the last: {}", warnings.last)?;
        writeln!(f, "{line}")?;
    }
    Ok(())
}

/// A step and its percentage.
struct Share(u64, &'static str);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}%", self.1, self.0)
    }
}

/// Memory's state in full, in the manner of Linux's boot log and /proc.
fn full(steps: &Steps) {
    let bits = features::physical_address_bits();
    kprint!("\nCPU features ({bits}-bit physical addresses):\n{}", features::features());
    kprint!("\nCPU errata:\n{}", cpu_errata::Report);
    kprint!("\nZones (pages):\n{}", stat::Zones);
    kprint!("\nFree blocks by order:\n{}", stat::FreeBlocks);
    kprint!("\nSlab caches:\n{}", stat::Slabs);
    kprint!("\nvmalloc areas:\n{}", stat::VmallocInfo);
    if cma::areas().next().is_some() {
        kprint!("\nCMA areas:\n{}", stat::CmaAreas);
    }
    kprint!("\nPage tables:\n{}", PageTables);
    kprint!("\n{}", stat::MemSummary);
    kprint!("\nBoot steps (cycles; instructions under -icount shift=0):\n");
    for (name, cycles) in steps.iter() {
        kprint!("  {name:<24}{cycles:>12}\n");
    }
    kprint!("  {:<24}{:>12}\n\n", "all", steps.total());
}

/// The layout of the kernel's half, as the tables have it.
struct PageTables;

impl fmt::Display for PageTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ptdump::dump(f)
    }
}
