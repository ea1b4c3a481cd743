//! Files of `/proc/PID` (Linux: fs/proc/base.c, array.c, task_mmu.c).
#![deny(unsafe_code)]

mod stat;

use super::process::{Process, table};
use crate::errno::Errno;
use crate::fs::pseudo::{PidFile, PidKind, ProcPid, register_proc_pid};
use crate::fs::vfs::{FdTable, Path};
use crate::mm::alloc::KArc;
use crate::mm::mm_struct::MmHandle;
use crate::sched::{current, find_task_by_pid};
use core::fmt::{self, Write};

/// Has /proc show processes. At boot.
pub fn init() {
    register_proc_pid(&Processes);
}

struct Processes;

impl ProcPid for Processes {
    fn lookup(&self, pid: u32) -> bool {
        table::find(pid).is_some()
    }
    fn pids_from(&self, pid: u32) -> Option<u32> {
        table::next(pid).map(|process| process.pid())
    }
    fn current_pid(&self) -> Option<u32> {
        Some(current().pid()).filter(|&pid| table::find(pid).is_some())
    }
    fn files_of(&self, pid: u32) -> Option<KArc<FdTable>> {
        Some(table::find(pid)?.files().clone())
    }
    fn files(&self) -> &'static [PidFile] {
        FILES
    }
}

/// The process of this number.
fn process(pid: u32) -> Result<KArc<Process>, Errno> {
    table::find(pid).ok_or(Errno::ESRCH)
}

/// Its address space.
fn mm(pid: u32) -> Result<MmHandle, Errno> {
    process(pid)?.mm().ok_or(Errno::ESRCH)
}

/// A text that can't be written is one that there is no memory for.
fn text(result: fmt::Result) -> Result<(), Errno> {
    result.map_err(|_| Errno::ENOMEM)
}

/// Strings that a program was started with. What is no text in them is left out.
fn strings(strings: Option<&[u8]>, out: &mut dyn Write) -> Result<(), Errno> {
    let chunks = strings.unwrap_or(b"").utf8_chunks();
    text(chunks.map(|chunk| chunk.valid()).try_for_each(|chunk| out.write_str(chunk)))
}

const fn read(
    name: &'static str,
    mode: u32,
    show: fn(u32, &mut dyn Write) -> Result<(), Errno>,
) -> PidFile {
    PidFile { name, mode, kind: PidKind::Text(show) }
}

const fn link(name: &'static str, target: fn(u32) -> Result<Path, Errno>) -> PidFile {
    PidFile { name, mode: 0o777, kind: PidKind::Link(target) }
}

const FILES: &[PidFile] = &[
    read("cmdline", 0o444, |pid, out| {
        strings(process(pid)?.args().as_ref().map(|args| args.argv()), out)
    }),
    read("comm", 0o644, |pid, out| {
        let task = find_task_by_pid(pid).ok_or(Errno::ESRCH)?;
        text(writeln!(out, "{}", task.comm()))
    }),
    link("cwd", |pid| Ok(process(pid)?.fs().pwd())),
    read("environ", 0o400, |pid, out| {
        strings(process(pid)?.args().as_ref().map(|args| args.envp()), out)
    }),
    link("exe", |pid| Ok(process(pid)?.exe().ok_or(Errno::ENOENT)?.path().clone())),
    read("limits", 0o444, |pid, out| text(process(pid)?.rlimits().show(out))),
    read("maps", 0o444, |pid, out| text(mm(pid)?.write_maps(out))),
    read("oom_score", 0o444, |pid, out| {
        text(writeln!(out, "{}", stat::oom_score(&*process(pid)?)))
    }),
    PidFile {
        name: "oom_score_adj",
        mode: 0o644,
        kind: PidKind::Store(
            |pid, out| text(writeln!(out, "{}", process(pid)?.oom_score_adj())),
            |pid, text| {
                process(pid)?.set_oom_score_adj(text.trim().parse().map_err(|_| Errno::EINVAL)?)
            },
        ),
    },
    read("personality", 0o400, |pid, out| {
        let personality = process(pid)?.personality_bits();
        text(writeln!(out, "{personality:08x}"))
    }),
    link("root", |pid| Ok(process(pid)?.fs().root())),
    read("smaps", 0o444, |pid, out| {
        let mm = mm(pid)?;
        let mut at = 0;
        while let Some(end) = mm.write_smap_at(at, out).map_err(|_| Errno::ENOMEM)? {
            at = end;
        }
        Ok(())
    }),
    read("smaps_rollup", 0o444, |pid, out| text(mm(pid)?.write_smaps_rollup(out))),
    read("stat", 0o444, stat::stat),
    read("statm", 0o444, stat::statm),
    read("status", 0o444, stat::status),
    read("wchan", 0o444, |pid, out| process(pid).and_then(|_| text(out.write_str("0")))),
];
