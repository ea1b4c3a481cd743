//! System calls (Linux: arch/arm64/kernel/syscall.c, include/uapi/asm-generic/unistd.h).
//!
//! | file | its calls |
//! | --- | --- |
//! | `table` | which function serves which number |
//! | `process` | numbers, limits, signals' actions, the end |
//! | `time` | clocks and sleeping |
//! | `file` | open files, their contents and attributes |
//! | `path` | names of files |
//! | `mm` | memory |
//! | `misc` | names, figures, random numbers |
//!
//! A call that neither sleeps nor touches the program's memory runs on the fast path, with interrupts
//! masked and half of the registers saved; the others run with all registers. The program's pointers
//! go to [`uaccess`](crate::arch::uaccess) and nowhere else.
//!
//! A number that nobody serves answers ENOSYS and is counted; the first call of each is logged.
#![deny(unsafe_code)]

mod file;
mod misc;
mod mm;
mod path;
mod process;
mod table;
mod time;

use super::process::Process;
use crate::addr::UserAddr;
use crate::arch::IrqMasked;
use crate::arch::el0_entry::FastRegs;
use crate::arch::exception::PtRegs;
use crate::arch::uaccess::{Efault, FromBytes, IntoBytes, UserPtr, UserSlice};
use crate::errno::Errno;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Numbers that may be served: those of Linux 6.12 end at 462.
pub const NR_SYSCALLS: usize = 464;

/// Function of a call on the fast path.
type FastCall = fn(&Process, &FastRegs<'_>, &IrqMasked) -> u64;
/// Function of a call with all registers. Process context.
type SlowCall = fn(&Process, &Args) -> Result<u64, Errno>;

/// How a number is served.
#[derive(Clone, Copy)]
enum Call {
    /// Not at all.
    Absent,
    /// On the fast path.
    Fast(FastCall),
    /// With all registers.
    Slow(SlowCall),
}

/// Calls of numbers that nobody serves.
static ABSENT: [AtomicU32; NR_SYSCALLS] = [const { AtomicU32::new(0) }; NR_SYSCALLS];

/// The arguments of a call.
struct Args([u64; 6]);

impl Args {
    /// Argument `n` as it is.
    const fn get(&self, n: usize) -> u64 {
        self.0[n]
    }
    /// Argument `n` as an `int`, which is its lower half.
    const fn int(&self, n: usize) -> i32 {
        self.0[n] as i32
    }
    /// Argument `n` as an `unsigned int`.
    const fn uint(&self, n: usize) -> u32 {
        self.0[n] as u32
    }
    /// Argument `n` as a pointer.
    ///
    /// # Errors
    /// EFAULT if it is none of the user's half.
    fn ptr<T>(&self, n: usize) -> Result<UserPtr<T>, Errno> {
        user_addr(self.0[n]).map(UserPtr::new)
    }
    /// Argument `n` as a pointer that may be null.
    fn ptr_or_null<T>(&self, n: usize) -> Result<Option<UserPtr<T>>, Errno> {
        if self.0[n] == 0 { Ok(None) } else { self.ptr(n).map(Some) }
    }
    /// `len` bytes at argument `n`.
    fn slice(&self, n: usize, len: usize) -> Result<UserSlice, Errno> {
        UserSlice::from_size(user_addr(self.0[n])?, len).map_err(efault)
    }
}

/// The address of this value.
fn user_addr(value: u64) -> Result<UserAddr, Errno> {
    UserAddr::new(value as usize).ok_or(Errno::EFAULT)
}

fn efault(_: Efault) -> Errno {
    Errno::EFAULT
}

fn get<T: FromBytes>(at: UserPtr<T>) -> Result<T, Errno> {
    at.get().map_err(efault)
}

fn put<T: IntoBytes>(at: UserPtr<T>, value: T) -> Result<(), Errno> {
    at.put(value).map_err(efault)
}

/// Serves a call on the fast path; returns false if it wants all registers.
#[inline(always)]
pub(super) fn fast(process: &Process, regs: &mut FastRegs<'_>, irq: &IrqMasked) -> bool {
    let number = regs.x(8) as u32 as usize;
    let Some(Call::Fast(call)) = table::TABLE.get(number) else { return false };
    let result = call(process, regs, irq);
    regs.set_x0(result);
    true
}

/// Serves a call with all registers. Process context.
pub(super) fn slow(process: &Process, regs: &mut PtRegs) {
    let number = regs.x[8] as u32 as usize;
    let [x0, x1, x2, x3, x4, x5, ..] = regs.x;
    let result = match table::TABLE.get(number) {
        Some(Call::Slow(call)) => call(process, &Args([x0, x1, x2, x3, x4, x5])),
        _ => Err(absent(number)),
    };
    regs.x[0] = result.unwrap_or_else(Errno::to_syscall);
}

/// Counts a call that nobody serves.
#[cold]
fn absent(number: usize) -> Errno {
    if let Some(count) = ABSENT.get(number)
        && count.fetch_add(1, Relaxed) == 0
    {
        log::debug!("system call {number} is not there");
    }
    Errno::ENOSYS
}

/// Returns the numbers that nobody serves and somebody has called, and how often.
pub fn absent_calls() -> impl Iterator<Item = (usize, u32)> {
    let counts = ABSENT.iter().map(|count| count.load(Relaxed)).enumerate();
    counts.filter(|&(_, count)| count != 0)
}
