//! States of a task, and the stages of its life.

/// Relation of a task to its CPU (Linux: task_struct.__state).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum TaskState {
    /// Runs, or waits for the CPU alone (TASK_RUNNING).
    Running = 1 << 0,
    /// Sleeps until it is woken; `KThread::stop` ends the wait (TASK_INTERRUPTIBLE).
    Interruptible = 1 << 1,
    /// Sleeps until it is woken, for something sure to come (TASK_UNINTERRUPTIBLE).
    Uninterruptible = 1 << 2,
    /// Sleeps until it is woken; SIGKILL ends the wait, nothing else does (TASK_KILLABLE:
    /// TASK_WAKEKILL and TASK_UNINTERRUPTIBLE).
    Killable = TASK_WAKEKILL | 1 << 2,
}

/// State of those whom SIGKILL wakes (Linux: TASK_WAKEKILL), as a bit.
pub(in crate::sched) const TASK_WAKEKILL: u8 = 1 << 3;

impl TaskState {
    /// Returns the state's bits, to name several.
    #[must_use]
    pub const fn bit(self) -> u8 {
        self as u8
    }
    pub(super) const fn from_bit(bit: u8) -> Self {
        match bit {
            2 => Self::Interruptible,
            4 => Self::Uninterruptible,
            12 => Self::Killable,
            _ => Self::Running,
        }
    }
    /// Returns the letter of the state in `/proc/PID/stat` (Linux: task_state_to_char).
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Running => 'R',
            Self::Interruptible => 'S',
            Self::Uninterruptible | Self::Killable => 'D',
        }
    }
}

/// States of sleep (Linux: TASK_NORMAL), as bits.
pub const TASK_NORMAL: u8 = TaskState::Interruptible.bit() | TaskState::Uninterruptible.bit();

/// Bit of a task that SIGKILL is for.
pub(super) const SIGKILL_ALLOWED: u8 = 1 << 0;
/// Bit of a task that SIGKILL was sent to.
pub(super) const SIGKILL_PENDING: u8 = 1 << 1;

/// Stage of the life of a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Life {
    /// No CPU has it as a task yet.
    New,
    /// A CPU has it; not ended.
    Live,
    /// Ended, and still on its stack.
    Exiting,
    /// Ended; the stack has gone back.
    Dead,
}

/// Work for the CPU that leaves a task's stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(in crate::sched) enum Departure {
    /// The task stays.
    None,
    /// The task has ended.
    Ended,
    /// The task may no longer run on this CPU.
    Moves,
}
