//! Numbers, limits, signals' actions, and the end of a process (Linux: kernel/sys.c, kernel/signal.c,
//! kernel/exit.c).

use super::{Args, get, put};
use crate::arch::IrqMasked;
use crate::arch::el0_entry::FastRegs;
use crate::errno::Errno;
use crate::mm::mm_struct::with_current;
use crate::sched::{current, sched_yield};
use crate::user::process::rlimit::{Resource, Rlimit};
use crate::user::process::signal::{Exit, Signal};
use crate::user::process::{Process, SigAction};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::{general as abi, prctl};

pub(super) fn getpid(process: &Process, _: &FastRegs<'_>, _: &IrqMasked) -> u64 {
    process.pid().into()
}

pub(super) fn getppid(process: &Process, _: &FastRegs<'_>, _: &IrqMasked) -> u64 {
    process.ppid().into()
}

/// The user and the group, real and effective: all are root's.
pub(super) fn getuid(_: &Process, _: &FastRegs<'_>, _: &IrqMasked) -> u64 {
    0
}

/// setuid, setgid and the like: root may be root.
pub(super) fn setuid(_: &Process, args: &Args) -> Result<u64, Errno> {
    match args.int(0) {
        0 => Ok(0),
        -1 => Err(Errno::EINVAL),
        // Without other users, nobody can become one.
        _ => Err(Errno::EPERM),
    }
}

pub(super) fn set_tid_address(process: &Process, _: &Args) -> Result<u64, Errno> {
    Ok(process.pid().into())
}

pub(super) fn exit(process: &Process, args: &Args) -> Result<u64, Errno> {
    process.end(Exit::Code(args.get(0) as u8));
    Ok(0)
}

pub(super) fn do_sched_yield(_: &Process, _: &Args) -> Result<u64, Errno> {
    sched_yield();
    Ok(0)
}

/// The process of this number must be the caller, the one process that it knows.
fn own(process: &Process, pid: i32) -> Result<(), Errno> {
    if pid == 0 || pid as u32 == process.pid() { Ok(()) } else { Err(Errno::ESRCH) }
}

/// Sets a limit, for faults too.
fn set_limit(process: &Process, resource: Resource, limit: Rlimit) -> Result<Rlimit, Errno> {
    let old = process.set_rlimit(resource, limit)?;
    with_current(|mm| mm.set_limits(process.mm_limits()));
    Ok(old)
}

fn rlimit([cur, max]: [u64; 2]) -> Rlimit {
    Rlimit { cur, max }
}

pub(super) fn prlimit64(process: &Process, args: &Args) -> Result<u64, Errno> {
    let new = args.ptr_or_null::<[u64; 2]>(2)?.map(get).transpose()?;
    own(process, args.int(0))?;
    let resource = Resource::new(args.uint(1)).ok_or(Errno::EINVAL)?;
    let old = match new {
        Some(new) => set_limit(process, resource, rlimit(new))?,
        None => process.rlimit(resource),
    };
    if let Some(to) = args.ptr_or_null::<[u64; 2]>(3)? {
        put(to, [old.cur, old.max])?;
    }
    Ok(0)
}

pub(super) fn getrlimit(process: &Process, args: &Args) -> Result<u64, Errno> {
    let limit = process.rlimit(Resource::new(args.uint(0)).ok_or(Errno::EINVAL)?);
    put(args.ptr::<[u64; 2]>(1)?, [limit.cur, limit.max])?;
    Ok(0)
}

pub(super) fn setrlimit(process: &Process, args: &Args) -> Result<u64, Errno> {
    let limit = rlimit(get(args.ptr::<[u64; 2]>(1)?)?);
    let resource = Resource::new(args.uint(0)).ok_or(Errno::EINVAL)?;
    set_limit(process, resource, limit)?;
    Ok(0)
}

/// Bytes of a set of signals.
const SIGSET_SIZE: u64 = 8;

/// A signal whose number is argument `n`.
fn signal(args: &Args, n: usize) -> Result<Signal, Errno> {
    Signal::new(args.uint(n)).ok_or(Errno::EINVAL)
}

pub(super) fn rt_sigaction(process: &Process, args: &Args) -> Result<u64, Errno> {
    if args.get(3) != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let new = args.ptr_or_null::<SigAction>(1)?.map(get).transpose()?;
    let signal = signal(args, 0)?;
    let old = match new {
        Some(new) => process.set_action(signal, new)?,
        None => process.action(signal),
    };
    if let Some(to) = args.ptr_or_null::<SigAction>(2)? {
        put(to, old)?;
    }
    Ok(0)
}

pub(super) fn rt_sigprocmask(process: &Process, args: &Args) -> Result<u64, Errno> {
    if args.get(3) != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let old = process.blocked().load(Relaxed);
    if let Some(set) = args.ptr_or_null::<u64>(1)? {
        let bit = |signal: Signal| 1u64 << (signal.get() - 1);
        let set = get(set)? & !(bit(Signal::SIGKILL) | bit(Signal::SIGSTOP));
        let new = match args.uint(0) {
            abi::SIG_BLOCK => old | set,
            abi::SIG_UNBLOCK => old & !set,
            abi::SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL),
        };
        process.blocked().store(new, Relaxed);
    }
    if let Some(to) = args.ptr_or_null::<u64>(2)? {
        put(to, old)?;
    }
    Ok(0)
}

/// Signal 0 asks whether the process is there.
fn send(process: &Process, number: u32) -> Result<u64, Errno> {
    if number == 0 {
        return Ok(0);
    }
    process.raise(Signal::new(number).ok_or(Errno::EINVAL)?)?;
    Ok(0)
}

pub(super) fn kill(process: &Process, args: &Args) -> Result<u64, Errno> {
    own(process, args.int(0))?;
    send(process, args.uint(1))
}

pub(super) fn tkill(process: &Process, args: &Args) -> Result<u64, Errno> {
    if args.int(0) <= 0 {
        return Err(Errno::EINVAL);
    }
    own(process, args.int(0))?;
    send(process, args.uint(1))
}

pub(super) fn tgkill(process: &Process, args: &Args) -> Result<u64, Errno> {
    if args.int(0) <= 0 || args.int(1) <= 0 {
        return Err(Errno::EINVAL);
    }
    own(process, args.int(0))?;
    own(process, args.int(1))?;
    send(process, args.uint(2))
}

/// Serves getpgid and getsid: each process is in the group and the sid of init.
pub(super) fn getpgid(process: &Process, args: &Args) -> Result<u64, Errno> {
    own(process, args.int(0))?;
    Ok(process.ppid().into())
}

pub(super) fn personality(process: &Process, args: &Args) -> Result<u64, Errno> {
    let new = args.uint(0);
    let old = process.personality().load(Relaxed);
    if new != u32::MAX {
        process.personality().store(new, Relaxed);
    }
    Ok(old.into())
}

pub(super) fn do_prctl(_: &Process, args: &Args) -> Result<u64, Errno> {
    match args.uint(0) {
        prctl::PR_SET_NAME => {
            let mut name = [0; 15];
            let mut len = 0;
            while len < name.len() {
                let at = args.ptr::<u8>(1)?.offset(len).ok_or(Errno::EFAULT)?;
                name[len] = get(at)?;
                if name[len] == 0 {
                    break;
                }
                len += 1;
            }
            // Names are text here: what is none ends it.
            let name = name[..len].utf8_chunks().next().map_or("", |chunk| chunk.valid());
            current().set_comm(name);
            Ok(0)
        }
        prctl::PR_GET_NAME => {
            let mut name = [0; 16];
            let comm = current().comm();
            name[..comm.len()].copy_from_slice(comm.as_bytes());
            put(args.ptr::<[u8; 16]>(1)?, name)?;
            Ok(0)
        }
        prctl::PR_GET_DUMPABLE => Ok(1),
        _ => Err(Errno::EINVAL),
    }
}
