//! Clocks and sleeping (Linux: kernel/time/posix-timers.c, kernel/time/time.c).

use super::{Args, efault, get, put};
use crate::arch::uaccess::UserPtr;
use crate::errno::Errno;
use crate::sched::{
    HZ, TaskState, current, fatal_signal_pending, schedule_hrtimeout, set_current_state,
};
use crate::time::hrtimer::ClockId;
use crate::time::{KTIME_MAX, NSEC_PER_SEC, do_settimeofday64, ktime_get, ktime_get_real};
use crate::user::exec::stack::CLOCKS_PER_SEC;
use crate::user::process::Process;
use linux_raw_sys::general as abi;

/// Seconds and nanoseconds (Linux: struct timespec).
type Timespec = [i64; 2];

const NSEC: i64 = NSEC_PER_SEC as i64;
/// Nanoseconds between two ticks, by which the coarse clocks count.
const TICK_NSEC: u64 = NSEC_PER_SEC / HZ;

/// A clock of programs.
#[derive(Clone, Copy)]
enum Clock {
    Of(ClockId),
    Coarse(ClockId),
    /// CPU time of the process or the task.
    Cpu,
}

/// The clock of this number (Linux: clockid_to_kclock).
fn clock(number: i32) -> Result<Clock, Errno> {
    Ok(match number as u32 {
        abi::CLOCK_REALTIME | abi::CLOCK_TAI => Clock::Of(ClockId::Realtime),
        abi::CLOCK_MONOTONIC | abi::CLOCK_MONOTONIC_RAW | abi::CLOCK_BOOTTIME => {
            Clock::Of(ClockId::Monotonic)
        }
        abi::CLOCK_REALTIME_COARSE => Clock::Coarse(ClockId::Realtime),
        abi::CLOCK_MONOTONIC_COARSE => Clock::Coarse(ClockId::Monotonic),
        abi::CLOCK_PROCESS_CPUTIME_ID | abi::CLOCK_THREAD_CPUTIME_ID => Clock::Cpu,
        _ => return Err(Errno::EINVAL),
    })
}

impl Clock {
    fn now(self) -> u64 {
        match self {
            Self::Of(clock) => clock.now(),
            Self::Coarse(clock) => clock.now() / TICK_NSEC * TICK_NSEC,
            Self::Cpu => current().runtime(),
        }
    }

    fn resolution(self) -> u64 {
        if matches!(self, Self::Coarse(_)) { TICK_NSEC } else { 1 }
    }
}

const fn timespec(ns: u64) -> Timespec {
    [(ns / NSEC_PER_SEC) as i64, (ns % NSEC_PER_SEC) as i64]
}

/// Nanoseconds of a time from a program, as far as a clock reaches.
fn nanoseconds([sec, nsec]: Timespec) -> Result<u64, Errno> {
    if sec < 0 || !(0..NSEC).contains(&nsec) {
        return Err(Errno::EINVAL);
    }
    let ns = (sec as u64).saturating_mul(NSEC_PER_SEC).saturating_add(nsec as u64);
    Ok(ns.min(KTIME_MAX))
}

pub(super) fn clock_gettime(_: &Process, args: &Args) -> Result<u64, Errno> {
    let clock = clock(args.int(0))?;
    put(args.ptr::<Timespec>(1)?, timespec(clock.now()))?;
    Ok(0)
}

pub(super) fn clock_getres(_: &Process, args: &Args) -> Result<u64, Errno> {
    let clock = clock(args.int(0))?;
    if let Some(to) = args.ptr_or_null::<Timespec>(1)? {
        put(to, timespec(clock.resolution()))?;
    }
    Ok(0)
}

pub(super) fn clock_settime(_: &Process, args: &Args) -> Result<u64, Errno> {
    if args.int(0) as u32 != abi::CLOCK_REALTIME {
        return Err(Errno::EINVAL);
    }
    let time = get(args.ptr::<Timespec>(1)?)?;
    set_time(time)
}

/// Sets the realtime clock (Linux: do_sys_settimeofday64).
fn set_time(time: Timespec) -> Result<u64, Errno> {
    do_settimeofday64(nanoseconds(time)?).map_err(|_| Errno::EINVAL)?;
    Ok(0)
}

pub(super) fn gettimeofday(_: &Process, args: &Args) -> Result<u64, Errno> {
    if let Some(to) = args.ptr_or_null::<Timespec>(0)? {
        let [sec, nsec] = timespec(ktime_get_real());
        put(to, [sec, nsec / 1000])?;
    }
    if let Some(zone) = args.ptr_or_null::<[i32; 2]>(1)? {
        put(zone, [0, 0])?;
    }
    Ok(0)
}

pub(super) fn settimeofday(_: &Process, args: &Args) -> Result<u64, Errno> {
    let Some(time) = args.ptr_or_null::<Timespec>(0)? else { return Ok(0) };
    let [sec, usec] = get(time)?;
    if !(0..=1_000_000).contains(&usec) {
        return Err(Errno::EINVAL);
    }
    set_time([sec, usec * 1000])
}

/// Sleeps until `clock` shows `expires`, or the process is ended.
fn sleep(clock: ClockId, expires: u64) -> Result<(), Errno> {
    while clock.now() < expires {
        if fatal_signal_pending() {
            return Err(Errno::EINTR);
        }
        set_current_state(TaskState::Interruptible);
        // A signal since the look has woken the task already.
        if fatal_signal_pending() {
            set_current_state(TaskState::Running);
            return Err(Errno::EINTR);
        }
        schedule_hrtimeout(clock, expires);
    }
    Ok(())
}

/// Sleeps for a time from now on; writes what is left if a signal ends it.
fn sleep_for(time: Timespec, left: Option<UserPtr<Timespec>>) -> Result<u64, Errno> {
    let expires = ktime_get().saturating_add(nanoseconds(time)?).min(KTIME_MAX);
    let result = sleep(ClockId::Monotonic, expires);
    if let (Err(_), Some(left)) = (result, left) {
        left.put(timespec(expires.saturating_sub(ktime_get()))).map_err(efault)?;
    }
    result.map(|()| 0)
}

pub(super) fn nanosleep(_: &Process, args: &Args) -> Result<u64, Errno> {
    sleep_for(get(args.ptr::<Timespec>(0)?)?, args.ptr_or_null(1)?)
}

pub(super) fn clock_nanosleep(_: &Process, args: &Args) -> Result<u64, Errno> {
    let number = args.int(0);
    let clock = match clock(number)? {
        Clock::Of(clock) if number as u32 != abi::CLOCK_MONOTONIC_RAW => clock,
        Clock::Cpu if number as u32 == abi::CLOCK_THREAD_CPUTIME_ID => return Err(Errno::EINVAL),
        _ => return Err(Errno::EOPNOTSUPP),
    };
    let time = get(args.ptr::<Timespec>(2)?)?;
    if args.uint(1) & abi::TIMER_ABSTIME == 0 {
        return sleep_for(time, args.ptr_or_null(3)?);
    }
    sleep(clock, nanoseconds(time)?).map(|()| 0)
}

pub(super) fn times(_: &Process, args: &Args) -> Result<u64, Errno> {
    const TICK: u64 = NSEC_PER_SEC / CLOCKS_PER_SEC;
    if let Some(to) = args.ptr_or_null::<[u64; 4]>(0)? {
        let task = current();
        let utime = task.utime();
        let stime = task.runtime().saturating_sub(utime);
        put(to, [utime / TICK, stime / TICK, 0, 0])?;
    }
    Ok(ktime_get() / TICK)
}
