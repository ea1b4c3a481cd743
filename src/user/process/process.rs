//! A process: one task at EL0, and what belongs to it (Linux: struct task_struct, signal_struct,
//! sighand_struct).

use super::rlimit::{Resource, Rlimit, Rlimits};
use super::signal::{DefaultAction, Exit, NSIG, Signal};
use crate::arch::irq::with_masked;
use crate::errno::Errno;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sync::{Once, Rank, SpinLock};
use crate::time::ktime_get;

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
    actions: [SigAction; NSIG],
}

/// A process.
pub struct Process {
    pid: u32,
    ppid: u32,
    start_time: u64,
    state: SpinLock<State>,
    blocked: AtomicU64,
    personality: AtomicU32,
    exit: Once<Exit>,
}

impl Process {
    /// Creates a process that has the limits of the first one.
    #[must_use]
    pub fn new(pid: u32, ppid: u32, max_threads: u64) -> Self {
        let rlimits = Rlimits::init(max_threads);
        Self {
            pid,
            ppid,
            start_time: ktime_get(),
            state: SpinLock::new(Rank::Process, State { rlimits, actions: [[0; 4]; NSIG] }),
            blocked: AtomicU64::new(0),
            personality: AtomicU32::new(0),
            exit: Once::new(),
        }
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
        with_masked(|irq| self.state.lock(irq).rlimits.get(resource))
    }

    /// All limits.
    #[must_use]
    pub fn rlimits(&self) -> Rlimits {
        with_masked(|irq| self.state.lock(irq).rlimits.clone())
    }

    /// Sets a limit; returns the one before.
    ///
    /// # Errors
    /// As for [`Rlimits::set`].
    pub fn set_rlimit(&self, resource: Resource, limit: Rlimit) -> Result<Rlimit, Errno> {
        with_masked(|irq| {
            let mut state = self.state.lock(irq);
            let old = state.rlimits.get(resource);
            state.rlimits.set(resource, limit, NR_OPEN)?;
            Ok(old)
        })
    }

    /// The action for a signal.
    #[must_use]
    pub fn action(&self, signal: Signal) -> SigAction {
        with_masked(|irq| self.state.lock(irq).actions[usize::from(signal.get()) - 1])
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
