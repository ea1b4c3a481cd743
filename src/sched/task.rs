//! State of a thread for the scheduler: its number, its state, its stage of life.
#![deny(unsafe_code)]

use crate::arch::CpuId;
use core::fmt;

/// Relation of a thread to its CPU (Linux: task_struct.__state).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskState {
    /// Runs, or waits for the CPU alone (TASK_RUNNING).
    Running,
    /// Sleeps until it is woken; `KThread::stop` ends what it waits for
    /// (TASK_INTERRUPTIBLE).
    Interruptible,
    /// Sleeps until it is woken, for what is sure to come (TASK_UNINTERRUPTIBLE).
    Uninterruptible,
}

impl TaskState {
    /// Returns a bit for the state, to name several.
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self {
            Self::Running => 1 << 0,
            Self::Interruptible => 1 << 1,
            Self::Uninterruptible => 1 << 2,
        }
    }
}

/// States of sleep (Linux: TASK_NORMAL), as bits.
pub const TASK_NORMAL: u8 = TaskState::Interruptible.bit() | TaskState::Uninterruptible.bit();

/// Threads that a CPU can have, its first included.
pub const NR_THREADS: usize = 32;

/// The number of a thread on its CPU, below [`NR_THREADS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(u8);

impl Slot {
    /// Thread that the CPU ran when it came up.
    pub const FIRST: Self = Self(0);

    /// All numbers, rising.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..NR_THREADS as u8).map(Self)
    }
    /// Returns the number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
    /// Returns the number as a bit of 32.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self.0
    }
}

const _: () = assert!(NR_THREADS == u32::BITS as usize, "a bit for each in a word");

/// A thread: it stays on its CPU for life. A number is used again after a thread's end;
/// the generation tells the old thread's handles from the new one's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ThreadId {
    /// The CPU that runs it.
    pub cpu: CpuId,
    pub(super) slot: Slot,
    pub(super) generation: u32,
}

impl ThreadId {
    /// A number of its own among the threads that live, 1 at least (Linux: task_struct.pid).
    #[must_use]
    pub const fn pid(self) -> u32 {
        (self.cpu.index() * NR_THREADS + self.slot.index() + 1) as u32
    }
}

impl fmt::Debug for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thread({}:{}.{})", self.cpu.index(), self.slot.0, self.generation)
    }
}

/// Reason why a thread could not be created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// The CPU has [`NR_THREADS`] already.
    TooMany,
    /// The CPU isn't up, or has no interrupts: nothing would wake it from its sleep.
    NoCpu,
    /// There is no memory for its stack.
    NoMemory,
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => "its CPU has as many threads as it can have",
            Self::NoCpu => "its CPU is not up, or has no interrupts",
            Self::NoMemory => "no memory for its stack",
        })
    }
}

impl core::error::Error for CreateError {}
