//! The function of each number.

use super::Call::{Absent, Fast, Slow};
use super::{Call, NR_SYSCALLS, misc, process, time};
use linux_raw_sys::general as nr;

/// How each number is served.
pub(super) static TABLE: [Call; NR_SYSCALLS] = {
    let mut table = [Absent; NR_SYSCALLS];
    macro_rules! calls {
        ($($number:ident $call:expr,)*) => { $(table[nr::$number as usize] = $call;)* };
    }
    calls! {
        __NR_set_tid_address Slow(process::set_tid_address),
        __NR_exit Slow(process::exit),
        __NR_exit_group Slow(process::exit),
        __NR_getpid Fast(process::getpid),
        __NR_gettid Fast(process::getpid),
        __NR_getppid Fast(process::getppid),
        __NR_getuid Fast(process::getuid),
        __NR_geteuid Fast(process::getuid),
        __NR_getgid Fast(process::getuid),
        __NR_getegid Fast(process::getuid),
        __NR_setuid Slow(process::setuid),
        __NR_setgid Slow(process::setuid),
        __NR_sched_yield Slow(process::do_sched_yield),
        __NR_prlimit64 Slow(process::prlimit64),
        __NR_getrlimit Slow(process::getrlimit),
        __NR_setrlimit Slow(process::setrlimit),
        __NR_rt_sigaction Slow(process::rt_sigaction),
        __NR_rt_sigprocmask Slow(process::rt_sigprocmask),
        __NR_kill Slow(process::kill),
        __NR_tkill Slow(process::tkill),
        __NR_tgkill Slow(process::tgkill),
        __NR_getpgid Slow(process::getpgid),
        __NR_getsid Slow(process::getpgid),
        __NR_personality Slow(process::personality),
        __NR_prctl Slow(process::do_prctl),

        __NR_clock_gettime Slow(time::clock_gettime),
        __NR_clock_getres Slow(time::clock_getres),
        __NR_clock_settime Slow(time::clock_settime),
        __NR_clock_nanosleep Slow(time::clock_nanosleep),
        __NR_nanosleep Slow(time::nanosleep),
        __NR_gettimeofday Slow(time::gettimeofday),
        __NR_settimeofday Slow(time::settimeofday),
        __NR_times Slow(time::times),

        __NR_uname Slow(misc::uname),
        __NR_sysinfo Slow(misc::sysinfo),
        __NR_getrusage Slow(misc::getrusage),
        __NR_getrandom Slow(misc::getrandom),
        __NR_getcpu Slow(misc::getcpu),
        __NR_sched_getaffinity Slow(misc::sched_getaffinity),
    }
    table
};
