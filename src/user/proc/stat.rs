//! The figures of a process (Linux: fs/proc/array.c, fs/proc/task_mmu.c).

use super::super::exec::stack::CLOCKS_PER_SEC;
use super::super::process::signal::{NSIG, Signal};
use super::super::process::{Process, Resource};
use super::{process, text};
use crate::addr::PAGE_SIZE;
use crate::errno::Errno;
use crate::mm::memory::MmCounter;
use crate::mm::mm_struct::{Marks, UserMm};
use crate::mm::page_alloc::totalram_pages;
use crate::sched::{TaskRef, find_task_by_pid};
use crate::time::NSEC_PER_SEC;
use core::fmt::{self, Write};

/// Nanoseconds of a tick of times(2).
const TICK: u64 = NSEC_PER_SEC / CLOCKS_PER_SEC;

/// Pages of an address space, by kind.
#[derive(Clone, Copy, Default)]
struct Pages {
    total: u64,
    peak: u64,
    locked: u64,
    data: u64,
    stack: u64,
    exec: u64,
    anon: u64,
    file: u64,
    shmem: u64,
    swap: u64,
    table_kib: u64,
}

impl Pages {
    fn of(mm: &UserMm) -> Self {
        let totals = mm.totals();
        let rss = |counter| mm.tables().rss(counter) as u64;
        Self {
            total: totals.pages,
            peak: mm.hiwater_vm(),
            locked: totals.locked,
            data: totals.data,
            stack: totals.stack,
            exec: totals.exec,
            anon: rss(MmCounter::Anon),
            file: rss(MmCounter::File),
            shmem: rss(MmCounter::Shmem),
            swap: rss(MmCounter::Swap),
            table_kib: (mm.tables().pgtables_bytes() / 1024) as u64,
        }
    }

    const fn rss(&self) -> u64 {
        self.anon + self.file + self.shmem
    }
}

/// Kibibytes of pages.
const fn kib(pages: u64) -> u64 {
    pages * (PAGE_SIZE as u64 / 1024)
}

/// Kibibytes of code, as the headers of the program have it.
fn text_kib(marks: &Marks) -> u64 {
    let page = PAGE_SIZE;
    let end = marks.end_code.next_multiple_of(page);
    (end.saturating_sub(marks.start_code & !(page - 1)) / 1024) as u64
}

/// Chance of the process to be ended for want of memory, out of 2000 (Linux: proc_oom_score).
pub(super) fn oom_score(process: &Process) -> i64 {
    let pages = process.mm().map(|mm| Pages::of(&mm)).unwrap_or_default();
    let total = totalram_pages().max(1) as i64;
    let used = (pages.rss() + pages.swap + pages.table_kib / kib(1)) as i64;
    let points = used + i64::from(process.oom_score_adj()) * total / 1000;
    ((1000 + points * 1000 / total) * 2 / 3).max(0)
}

/// The letter and the word of a task's state.
fn state(task: &TaskRef) -> (char, &'static str) {
    use crate::sched::TaskState;
    match task.state() {
        TaskState::Running => ('R', "running"),
        TaskState::Interruptible => ('S', "sleeping"),
        _ => ('D', "disk sleep"),
    }
}

fn task(pid: u32) -> Result<TaskRef, Errno> {
    find_task_by_pid(pid).ok_or(Errno::ESRCH)
}

/// Signals that are ignored, and those that have a handler.
fn actions(process: &Process) -> (u64, u64) {
    let mut sets = (0, 0);
    for number in 1..=NSIG as u32 {
        let Some(signal) = Signal::new(number) else { continue };
        let bit = 1 << (number - 1);
        match process.action(signal)[0] {
            0 => {}
            1 => sets.0 |= bit,
            _ => sets.1 |= bit,
        }
    }
    sets
}

/// Writes `/proc/PID/statm`.
pub(super) fn statm(pid: u32, out: &mut dyn Write) -> Result<(), Errno> {
    let mm = process(pid)?.mm();
    let pages = mm.as_ref().map(|mm| Pages::of(mm)).unwrap_or_default();
    let code = mm.as_ref().map_or(0, |mm| text_kib(&mm.marks())) / kib(1);
    let (shared, data) = (pages.file + pages.shmem, pages.data + pages.stack);
    text(writeln!(out, "{} {} {shared} {code} 0 {data} 0", pages.total, pages.rss()))
}

/// Writes `/proc/PID/stat`.
pub(super) fn stat(pid: u32, out: &mut dyn Write) -> Result<(), Errno> {
    let (process, task) = (process(pid)?, task(pid)?);
    let mm = process.mm();
    let pages = mm.as_ref().map(|mm| Pages::of(mm)).unwrap_or_default();
    let marks = mm.as_ref().map_or(Marks::NONE, |mm| mm.marks());
    let (ignored, caught) = actions(&process);
    let utime = task.utime();
    let stime = task.runtime().saturating_sub(utime);
    let ppid = process.ppid();
    let nice = task.nice().get();
    text((|| {
        write!(
            out,
            "{pid} ({}) {} {ppid} {ppid} {ppid} 0 -1 4194304",
            task.comm(),
            state(&task).0
        )?;
        // Faults are not counted by process.
        write!(out, " 0 0 0 0 {} {} 0 0 {} {nice} 1 0", utime / TICK, stime / TICK, 20 + nice)?;
        write!(out, " {} {}", process.start_time() / TICK, pages.total * PAGE_SIZE as u64)?;
        write!(out, " {} {}", pages.rss(), process.rlimit(Resource::RSS).cur)?;
        write!(out, " {} {} {} 0 0", marks.start_code, marks.end_code, marks.start_stack)?;
        write!(out, " 0 {} {ignored} {caught}", process.blocked_signals())?;
        write!(out, " 0 0 0 17 {} 0 0 0 0 0", task.cpu().index())?;
        write!(out, " {} {} {}", marks.start_data, marks.end_data, marks.start_brk)?;
        write!(out, " {} {}", marks.arg_start, marks.arg_end)?;
        writeln!(out, " {} {} 0", marks.env_start, marks.env_end)
    })())
}

/// Writes `/proc/PID/status`.
pub(super) fn status(pid: u32, out: &mut dyn Write) -> Result<(), Errno> {
    let (process, task) = (process(pid)?, task(pid)?);
    text(show_status(&process, &task, out))
}

fn show_status(process: &Process, task: &TaskRef, out: &mut dyn Write) -> fmt::Result {
    let pid = process.pid();
    let (letter, word) = state(task);
    writeln!(out, "Name:\t{}\nUmask:\t{:04o}", task.comm(), process.fs().umask())?;
    writeln!(out, "State:\t{letter} ({word})\nTgid:\t{pid}\nNgid:\t0\nPid:\t{pid}")?;
    writeln!(out, "PPid:\t{}\nTracerPid:\t0", process.ppid())?;
    let cred = process.cred();
    for (name, id) in [("Uid", cred.uid), ("Gid", cred.gid)] {
        writeln!(out, "{name}:\t{id}\t{id}\t{id}\t{id}")?;
    }
    writeln!(out, "FDSize:\t64\nGroups:\t ")?;
    for name in ["NStgid", "NSpid"] {
        writeln!(out, "{name}:\t{pid}")?;
    }
    for name in ["NSpgid", "NSsid"] {
        writeln!(out, "{name}:\t{}", process.ppid())?;
    }
    writeln!(out, "Kthread:\t0")?;
    if let Some(mm) = process.mm() {
        let pages = Pages::of(&mm);
        let code = text_kib(&mm.marks());
        for (name, kib) in [
            ("VmPeak", kib(pages.peak)),
            ("VmSize", kib(pages.total)),
            ("VmLck", kib(pages.locked)),
            ("VmPin", 0),
            ("VmHWM", kib(pages.rss())),
            ("VmRSS", kib(pages.rss())),
            ("RssAnon", kib(pages.anon)),
            ("RssFile", kib(pages.file)),
            ("RssShmem", kib(pages.shmem)),
            ("VmData", kib(pages.data)),
            ("VmStk", kib(pages.stack)),
            ("VmExe", code),
            ("VmLib", kib(pages.exec).saturating_sub(code)),
            ("VmPTE", pages.table_kib),
            ("VmSwap", kib(pages.swap)),
            ("HugetlbPages", 0),
        ] {
            writeln!(out, "{name}:\t{kib:8} kB")?;
        }
        writeln!(out, "CoreDumping:\t0\nTHP_enabled:\t0")?;
    }
    writeln!(out, "Threads:\t1\nSigQ:\t0/{}", process.rlimit(Resource::SIGPENDING).cur)?;
    let (ignored, caught) = actions(process);
    for (name, set) in [
        ("SigPnd", 0),
        ("ShdPnd", 0),
        ("SigBlk", process.blocked_signals()),
        ("SigIgn", ignored),
        ("SigCgt", caught),
        ("CapInh", 0),
        ("CapPrm", cred.caps.0),
        ("CapEff", cred.caps.0),
        ("CapBnd", cred.caps.0),
        ("CapAmb", 0),
    ] {
        writeln!(out, "{name}:\t{set:016x}")?;
    }
    writeln!(out, "NoNewPrivs:\t0\nSeccomp:\t0")
}
