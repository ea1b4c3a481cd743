//! A process: one task at EL0, and what belongs to it (Linux: struct task_struct, signal_struct,
//! sighand_struct).

use super::rlimit::{Resource, Rlimit, Rlimits};
use super::signal::{DefaultAction, Exit, NSIG, Signal};
use crate::arch::irq::with_masked;
use crate::errno::Errno;
use crate::fs::vfs::{Caller, Cred, FdTable, FileLimits, FsContext, OpenFile};
use crate::mm::alloc::{KArc, KVec};
use crate::mm::gfp::Gfp;
use crate::mm::mm_struct::{Limits, MmHandle};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sync::{Once, Rank, SpinLock};
use crate::time::ktime_get;
use crate::user::exec::args::Args;
use crate::user::exec::random::READ_IMPLIES_EXEC;
use core::sync::atomic::AtomicI32;
use linux_raw_sys::general as abi;

/// Action that a process has asked for, as it gave it: handler, flags, restorer and mask (Linux:
/// struct sigaction).
pub type SigAction = [u64; 4];

/// SIG_DFL
const SIG_DFL: u64 = 0;
/// SIG_IGN
const SIG_IGN: u64 = 1;

/// Open files that a process may be allowed (Linux: sysctl_nr_open).
pub const NR_OPEN: u64 = 1 << 20;

/// What spin locks protect.
struct State {
    rlimits: Rlimits,
    /// One for each signal: apart, as they are 2 KiB, too much for stacks that a process is made on.
    actions: KVec<SigAction>,
    cred: Cred,
    mm: Option<MmHandle>,
    exe: Option<KArc<OpenFile>>,
    args: Option<KArc<Args>>,
}

/// A process.
pub struct Process {
    pid: u32,
    ppid: u32,
    start_time: u64,
    state: SpinLock<State>,
    files: KArc<FdTable>,
    fs: FsContext,
    blocked: AtomicU64,
    personality: AtomicU32,
    oom_score_adj: AtomicI32,
    exit: Once<Exit>,
}

impl Process {
    /// Creates a process of root that has the limits of the first one, and no open files. Its
    /// directories are `fs`.
    ///
    /// # Errors
    /// ENOMEM
    pub fn new(pid: u32, ppid: u32, max_threads: u64, fs: FsContext) -> Result<Self, Errno> {
        let state = State {
            rlimits: Rlimits::init(max_threads),
            actions: KVec::from_elem([0; 4], NSIG, Gfp::GFP_KERNEL)?,
            cred: Cred::ROOT,
            mm: None,
            exe: None,
            args: None,
        };
        Ok(Self {
            pid,
            ppid,
            start_time: ktime_get(),
            state: SpinLock::new(Rank::Process, state),
            files: KArc::new(FdTable::new(), Gfp::GFP_KERNEL)?,
            fs,
            blocked: AtomicU64::new(0),
            personality: AtomicU32::new(0),
            oom_score_adj: AtomicI32::new(0),
            exit: Once::new(),
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        with_masked(|irq| f(&mut self.state.lock(irq)))
    }

    /// Calls `f` with what calls on files have to know of the process.
    pub fn with_caller<R>(&self, f: impl FnOnce(&Caller<'_>) -> R) -> R {
        let (cred, limits) = self.with(|state| {
            let limit = |resource| state.rlimits.get(resource).cur;
            let (nofile, fsize) = (limit(Resource::NOFILE), limit(Resource::FSIZE));
            (state.cred, FileLimits { nofile, fsize })
        });
        f(&Caller { files: &self.files, fs: &self.fs, cred: &cred, limits })
    }

    /// The open files.
    #[must_use]
    pub const fn files(&self) -> &KArc<FdTable> {
        &self.files
    }

    /// The directories.
    #[must_use]
    pub const fn fs(&self) -> &FsContext {
        &self.fs
    }

    /// The credentials.
    #[must_use]
    pub fn cred(&self) -> Cred {
        self.with(|state| state.cred)
    }

    /// Changes the credentials.
    pub fn set_cred(&self, cred: Cred) {
        self.with(|state| state.cred = cred);
    }

    /// Limits and rights that calls on memory look at.
    #[must_use]
    pub fn mm_limits(&self) -> Limits {
        let read_implies_exec = self.personality.load(Relaxed) & READ_IMPLIES_EXEC != 0;
        self.with(|state| {
            let limit = |resource| state.rlimits.get(resource);
            let has = |capability| state.cred.caps.has(capability);
            Limits {
                as_: limit(Resource::AS).cur,
                data: limit(Resource::DATA).cur,
                data_max: limit(Resource::DATA).max,
                stack: limit(Resource::STACK).cur,
                memlock: limit(Resource::MEMLOCK).cur,
                can_ipc_lock: has(abi::CAP_IPC_LOCK),
                can_sys_admin: has(abi::CAP_SYS_ADMIN),
                cap_sys_rawio: has(abi::CAP_SYS_RAWIO),
                read_implies_exec,
            }
        })
    }

    /// The address space; `None` before the program is loaded and once it has ended (Linux:
    /// get_task_mm).
    #[must_use]
    pub fn mm(&self) -> Option<MmHandle> {
        self.with(|state| state.mm.clone())
    }

    /// Sets the address space; returns the one before.
    pub(super) fn set_mm(&self, mm: Option<MmHandle>) -> Option<MmHandle> {
        self.with(|state| core::mem::replace(&mut state.mm, mm))
    }

    /// The file of the program.
    #[must_use]
    pub fn exe(&self) -> Option<KArc<OpenFile>> {
        self.with(|state| state.exe.clone())
    }

    /// Arguments and environment that the program was started with.
    #[must_use]
    pub fn args(&self) -> Option<KArc<Args>> {
        self.with(|state| state.args.clone())
    }

    /// Notes what program runs, and with what arguments; returns what was noted before.
    pub(super) fn set_program(
        &self,
        program: Option<(KArc<OpenFile>, KArc<Args>)>,
    ) -> (Option<KArc<OpenFile>>, Option<KArc<Args>>) {
        let (exe, args) = program.unzip();
        self.with(|state| {
            (core::mem::replace(&mut state.exe, exe), core::mem::replace(&mut state.args, args))
        })
    }

    /// The number of the process, and of its task.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// The number of the process that started it.
    #[must_use]
    pub const fn ppid(&self) -> u32 {
        self.ppid
    }

    /// Time of its start, in nanoseconds since the kernel's.
    #[must_use]
    pub const fn start_time(&self) -> u64 {
        self.start_time
    }

    /// A limit.
    #[must_use]
    pub fn rlimit(&self, resource: Resource) -> Rlimit {
        self.with(|state| state.rlimits.get(resource))
    }

    /// All limits.
    #[must_use]
    pub fn rlimits(&self) -> Rlimits {
        self.with(|state| state.rlimits.clone())
    }

    /// Sets a limit; returns the one before.
    ///
    /// # Errors
    /// As for [`Rlimits::set`].
    pub fn set_rlimit(&self, resource: Resource, limit: Rlimit) -> Result<Rlimit, Errno> {
        self.with(|state| {
            let old = state.rlimits.get(resource);
            state.rlimits.set(resource, limit, NR_OPEN)?;
            Ok(old)
        })
    }

    /// The action for a signal.
    #[must_use]
    pub fn action(&self, signal: Signal) -> SigAction {
        self.with(|state| state.actions[usize::from(signal.get()) - 1])
    }

    /// Sets the action for a signal; returns the one before (Linux: do_sigaction).
    ///
    /// # Errors
    /// EINVAL for SIGKILL and SIGSTOP.
    pub fn set_action(&self, signal: Signal, action: SigAction) -> Result<SigAction, Errno> {
        if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
            return Err(Errno::EINVAL);
        }
        let place = usize::from(signal.get()) - 1;
        Ok(with_masked(|irq| core::mem::replace(&mut self.state.lock(irq).actions[place], action)))
    }

    /// The signals that are blocked, one bit each from SIGHUP on.
    pub(in crate::user) fn blocked(&self) -> &AtomicU64 {
        &self.blocked
    }

    /// The personality (personality(2)).
    pub(in crate::user) fn personality(&self) -> &AtomicU32 {
        &self.personality
    }

    /// The signals that are blocked, one bit each from SIGHUP on.
    #[must_use]
    pub fn blocked_signals(&self) -> u64 {
        self.blocked.load(Relaxed)
    }

    /// The personality (personality(2)).
    #[must_use]
    pub fn personality_bits(&self) -> u32 {
        self.personality.load(Relaxed)
    }

    /// What is added to the process's share of memory when one is to be ended, in thousandths.
    #[must_use]
    pub fn oom_score_adj(&self) -> i32 {
        self.oom_score_adj.load(Relaxed)
    }

    /// Sets what [`Process::oom_score_adj`] returns.
    ///
    /// # Errors
    /// EINVAL beyond -1000 to 1000.
    pub fn set_oom_score_adj(&self, adj: i32) -> Result<(), Errno> {
        if !(-1000..=1000).contains(&adj) {
            return Err(Errno::EINVAL);
        }
        self.oom_score_adj.store(adj, Relaxed);
        Ok(())
    }

    /// Notes that the process is to end, when its task is next on its way to EL0. The first reason
    /// counts.
    pub fn end(&self, exit: Exit) {
        self.exit.call_once(|| exit);
    }

    /// Returns how the process ends, if it does.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.exit.get().copied()
    }

    /// Sends a signal to the process by itself: it ends, or nothing happens (Linux: kill).
    ///
    /// # Errors
    /// ENOSYS where it has a handler or blocks the signal, or would stop: that isn't there yet.
    pub fn raise(&self, signal: Signal) -> Result<(), Errno> {
        let [handler, ..] = self.action(signal);
        let is_fatal = signal == Signal::SIGKILL;
        let blocked = self.blocked.load(Relaxed) >> (signal.get() - 1) & 1 != 0;
        match handler {
            _ if is_fatal => {}
            _ if blocked => return Err(Errno::ENOSYS),
            SIG_IGN => return Ok(()),
            SIG_DFL => match signal.default_action() {
                DefaultAction::Terminate | DefaultAction::Core => {}
                DefaultAction::Ignore => return Ok(()),
                DefaultAction::Stop => return Err(Errno::ENOSYS),
            },
            _ => return Err(Errno::ENOSYS),
        }
        self.end(Exit::Signal(signal));
        Ok(())
    }
}
