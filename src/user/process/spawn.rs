//! Starting processes, and their ends (Linux: kernel/fork.c, kernel/exit.c).

use super::exec::{Binary, Randomize, load_binary};
use super::rlimit::Resource;
use super::signal::{Exit, Signal};
use super::{Process, program, table};
use crate::arch::exception::PtRegs;
use crate::drivers::random::get_random_u64;
use crate::errno::Errno;
use crate::fs::vfs::{self, FsContext};
use crate::mm::alloc::{KArc, KVec};
use crate::mm::gfp::Gfp;
use crate::mm::kthread::kthread_run;
use crate::mm::mm_struct::{Layout, MmHandle};
use crate::sched::{
    Completion, KThread, allow_sigkill, current, kthread_unuse_mm, kthread_use_mm, pid_max,
    send_sigkill,
};
use crate::sync::Once;
use crate::user::exec::args::Args;
use crate::user::exec::random::ADDR_COMPAT_LAYOUT;
use crate::user::{proc, vdso};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::{AT_FDCWD, O_RDWR};

/// Program to be started.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Path of its file.
    pub path: &'a [u8],
    /// Arguments, the first of which is its name.
    pub argv: &'a [&'a [u8]],
    /// Environment, as `NAME=VALUE`.
    pub envp: &'a [&'a [u8]],
}

/// A process that the kernel has started.
pub struct Child {
    process: KArc<Process>,
    thread: KThread,
}

impl Child {
    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it (Linux: SIGKILL).
    pub fn kill(&self) {
        send_sigkill(self.thread.task());
    }

    /// Returns whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.has_ended()
    }

    /// Waits for its end. All that it had is given back then, but for what of it is in caches.
    /// Process context.
    pub fn wait(self) -> Exit {
        Exit::of_wait_status(self.thread.join())
    }
}

/// Result of a start, which the new thread leaves for who waits.
struct Start {
    done: Completion,
    result: Once<Result<KArc<Process>, Errno>>,
}

/// Starts a process of root with `/dev/console` as its standard input, output and error output.
/// Process context (Linux: kernel_execve).
///
/// # Errors
/// Those of execve(2) up to the point from which on the new program would get them: such a process
/// ends by SIGSEGV. EAGAIN: too many tasks · ENOMEM.
pub fn spawn(command: &Command<'_>) -> Result<Child, Errno> {
    vdso::init();
    proc::init();
    let stack = super::rlimit::Rlimits::init(1).get(Resource::STACK).cur;
    let args = Args::new(command.path, command.argv, command.envp, stack)?;
    let start = Start { done: Completion::new(), result: Once::new() };
    let start = KArc::new(start, Gfp::GFP_KERNEL)?;
    let theirs = start.clone();
    let thread = kthread_run("exec", move || task(args, &theirs)).map_err(|_| Errno::EAGAIN)?;
    start.done.wait();
    match start.result.get() {
        Some(Ok(process)) => Ok(Child { process: process.clone(), thread }),
        Some(Err(errno)) => {
            let errno = *errno;
            thread.join();
            Err(errno)
        }
        None => Err(Errno::EINTR),
    }
}

/// Life of the task of a process; returns its wait status.
fn task(args: Args, start: &Start) -> i32 {
    allow_sigkill();
    let begun = begin(args);
    let result = begun.as_ref().map(|(process, _)| process.clone()).map_err(|&errno| errno);
    start.result.call_once(|| result);
    start.done.complete();
    let Ok((process, regs)) = begun else { return 0 };
    let exit = match regs {
        Some(regs) => program::run(process.clone(), &regs),
        None => process.exit().unwrap_or(Exit::Signal(Signal::SIGSEGV)),
    };
    log::debug!("process {} ({}): {exit}", process.pid(), current().comm());
    do_exit(&process);
    exit.wait_status()
}

/// Creates the process of the current task, and loads its program; without registers where that
/// failed too late for an error.
fn begin(args: Args) -> Result<(KArc<Process>, Option<PtRegs>), Errno> {
    let max_threads = u64::from(pid_max());
    let process = Process::new(current().pid(), INIT, max_threads, FsContext::new()?)?;
    let process = KArc::new(process, Gfp::GFP_KERNEL)?;
    let result = open_console(&process).and_then(|()| exec(&process, args));
    if result.is_err() {
        do_exit(&process);
    }
    result.map(|regs| (process, regs))
}

/// Number of the process that starts others: the kernel's own.
const INIT: u32 = 1;

/// Opens the console thrice. Without one the process has no files at first, as in Linux.
fn open_console(process: &Process) -> Result<(), Errno> {
    process.with_caller(|caller| {
        let Ok(file) = vfs::open_file(caller, AT_FDCWD, b"/dev/console", O_RDWR, 0) else {
            log::warn!("unable to open an initial console");
            return Ok(());
        };
        for _ in 0..3 {
            caller.files.reserve(0, caller.limits.nofile)?.install(file.clone(), false);
        }
        Ok(())
    })
}

/// Loads a program into the process of the current task, which has no address space (Linux:
/// do_execveat_common).
fn exec(process: &KArc<Process>, mut args: Args) -> Result<Option<PtRegs>, Errno> {
    let mut path = KVec::new();
    path.extend_from_slice(&args.filename()[..args.filename().len() - 1], Gfp::GFP_KERNEL)?;
    let binary = Binary::open(process, &path, &mut args)?;
    let random = Randomize::of(process);
    let compat = process.personality().load(Relaxed) & ADDR_COMPAT_LAYOUT != 0;
    let stack = process.rlimit(Resource::STACK).cur;
    let layout = Layout::pick(stack, random.is_on().then(get_random_u64), compat);
    let args = KArc::new(args, Gfp::GFP_KERNEL)?;
    let mm = MmHandle::new(layout)?;
    table::insert(process)?;
    kthread_use_mm(mm.mm_ref()).map_err(|_| Errno::ENOMEM)?;
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(b"");
    current().set_comm(name.utf8_chunks().next().map_or("", |chunk| chunk.valid()));
    let loaded = load_binary(process, &mm, &binary, &args, random);
    drop(process.set_mm(Some(mm)));
    match loaded {
        Ok(regs) => {
            drop(process.set_program(Some((binary.exe(), args))));
            Ok(Some(regs))
        }
        Err(errno) => {
            log::debug!("process {}: {errno:?} while its program is loaded", process.pid());
            process.end(Exit::Signal(Signal::SIGSEGV));
            Ok(None)
        }
    }
}

/// Gives back what the process of the current task has (Linux: do_exit).
fn do_exit(process: &Process) {
    table::remove(process.pid());
    let mm = process.set_mm(None);
    drop(kthread_unuse_mm());
    drop(mm);
    process.files().close_range(0, u32::MAX, false);
    drop(process.set_program(None));
}
