//! Names, figures and random numbers (Linux: kernel/sys.c, drivers/char/random.c).

use super::{Args, put};
use crate::addr::PAGE_SIZE;
use crate::arch::CpuId;
use crate::arch::irq::with_masked;
use crate::arch::{cpu, smp};
use crate::drivers::random::get_random_bytes;
use crate::errno::Errno;
use crate::mm::stat::si_meminfo;
use crate::sched::{cond_resched, current, fatal_signal_pending, loadavg, task_counts};
use crate::time::{NSEC_PER_SEC, ktime_get};
use crate::user::process::Process;
use crate::utsname;
use linux_raw_sys::general as abi;

/// Bytes of each name, with a zero.
const UTS_LEN: usize = 65;

pub(super) fn uname(_: &Process, args: &Args) -> Result<u64, Errno> {
    let mut names = [0; 6 * UTS_LEN];
    let all = [
        utsname::SYSNAME,
        utsname::NODENAME,
        utsname::RELEASE,
        utsname::VERSION,
        utsname::MACHINE,
        utsname::DOMAINNAME,
    ];
    for (to, name) in names.chunks_exact_mut(UTS_LEN).zip(all) {
        let len = name.len().min(UTS_LEN - 1);
        to[..len].copy_from_slice(&name.as_bytes()[..len]);
    }
    put(args.ptr::<[u8; 6 * UTS_LEN]>(0)?, names)?;
    Ok(0)
}

pub(super) fn getrandom(_: &Process, args: &Args) -> Result<u64, Errno> {
    const FLAGS: u32 = abi::GRND_NONBLOCK | abi::GRND_RANDOM | abi::GRND_INSECURE;
    let flags = args.uint(2);
    let exclusive = abi::GRND_RANDOM | abi::GRND_INSECURE;
    if flags & !FLAGS != 0 || flags & exclusive == exclusive {
        return Err(Errno::EINVAL);
    }
    // As much as one call of Linux gives (MAX_RW_COUNT).
    let len = (args.get(1) as usize).min(0x7fff_f000);
    let mut rest = args.slice(0, len)?;
    let mut done = 0;
    while !rest.is_empty() {
        let mut bytes = [0; 256];
        let n = rest.len().min(bytes.len());
        get_random_bytes(&mut bytes[..n]);
        let (first, behind) = rest.split_at(n).ok_or(Errno::EFAULT)?;
        if let Err(fault) = first.copy_from(&bytes[..n]) {
            done += n - fault.not_copied;
            return if done == 0 { Err(Errno::EFAULT) } else { Ok(done as u64) };
        }
        done += n;
        rest = behind;
        if fatal_signal_pending() {
            break;
        }
        cond_resched();
    }
    Ok(done as u64)
}

pub(super) fn getcpu(_: &Process, args: &Args) -> Result<u64, Errno> {
    let cpu = with_masked(|irq| cpu::id(irq).index() as u32);
    if let Some(to) = args.ptr_or_null::<u32>(0)? {
        put(to, cpu)?;
    }
    if let Some(to) = args.ptr_or_null::<u32>(1)? {
        put(to, 0)?;
    }
    Ok(0)
}

pub(super) fn sched_getaffinity(process: &Process, args: &Args) -> Result<u64, Errno> {
    const MASK: usize = crate::arch::NR_CPUS / 8;
    let len = args.get(1) as usize;
    let needed = smp::online().last().map_or(1, |cpu| cpu.index() + 1);
    if len.saturating_mul(8) < needed || !len.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    if args.int(0) != 0 && args.uint(0) != process.pid() {
        return Err(Errno::ESRCH);
    }
    let allowed = current().cpus_allowed();
    let mut mask = [0u8; MASK];
    for cpu in smp::online().filter(|&cpu| allowed.contains(cpu)) {
        let n = CpuId::index(cpu);
        mask[n / 8] |= 1 << (n % 8);
    }
    let len = len.min(MASK);
    args.slice(2, len)?.copy_from(&mask[..len]).map_err(super::efault)?;
    Ok(len as u64)
}

pub(super) fn sysinfo(_: &Process, args: &Args) -> Result<u64, Errno> {
    let pages = si_meminfo();
    let [load1, load5, load15] = loadavg().sysinfo_loads();
    let bytes = |pages: usize| (pages * PAGE_SIZE) as u64;
    // struct sysinfo: `procs` is 16 bits of a word, and the unit 32.
    let words = [
        ktime_get().div_ceil(NSEC_PER_SEC),
        load1,
        load5,
        load15,
        bytes(pages.total),
        bytes(pages.free),
        bytes(pages.shared),
        0,
        0,
        0,
        u64::from(task_counts().now as u16),
        0,
        0,
        1,
    ];
    put(args.ptr::<[u64; 14]>(0)?, words)?;
    Ok(0)
}

/// getrusage: all of the process's, the one task's; there are no children yet.
pub(super) fn getrusage(_: &Process, args: &Args) -> Result<u64, Errno> {
    let mut words = [0u64; 18];
    match args.int(0) {
        RUSAGE_SELF | RUSAGE_THREAD => {
            let task = current();
            let utime = task.utime();
            let stime = task.runtime().saturating_sub(utime);
            for (to, time) in words.chunks_exact_mut(2).zip([utime, stime]) {
                to[0] = time / NSEC_PER_SEC;
                to[1] = time % NSEC_PER_SEC / 1000;
            }
        }
        RUSAGE_CHILDREN => {}
        _ => return Err(Errno::EINVAL),
    }
    put(args.ptr::<[u64; 18]>(1)?, words)?;
    Ok(0)
}

const RUSAGE_SELF: i32 = abi::RUSAGE_SELF as i32;
const RUSAGE_CHILDREN: i32 = abi::RUSAGE_CHILDREN;
const RUSAGE_THREAD: i32 = abi::RUSAGE_THREAD as i32;
