//! The first stack of a program (Linux: fs/binfmt_elf.c, create_elf_tables).
//!
//! From its end down: a word of zeros, the name of the file, the strings of the environment and of the
//! arguments; 16-byte aligned from there, the name of the platform and 16 random bytes; and from the
//! stack pointer up: the number of arguments, pointers to them, 0, pointers to the environment, 0,
//! and the auxiliary vector.

use super::args::Args;
use super::load::Loaded;
use crate::addr::PAGE_SIZE;
use crate::errno::Errno;
use crate::mm::alloc::{AllocError, KVVec};
use crate::mm::gfp::Gfp;
use linux_raw_sys::auxvec;

/// The name of the platform (AT_PLATFORM).
const PLATFORM: &[u8; 8] = b"aarch64\0";
/// Ticks in a second, as times(2) counts them (Linux: USER_HZ).
pub const CLOCKS_PER_SEC: u64 = 100;
/// Bytes of a signal's frame without SVE and SME (Linux: signal_minsigstksz): siginfo, ucontext with
/// 4 KiB of records, a frame record, and alignment.
pub const MINSIGSTKSZ: u64 = 4720;
/// Entries of an auxiliary vector, the last of which is AT_NULL.
pub const AUXV_LEN: usize = 21;

/// Contents of the auxiliary vector beside the program's addresses.
#[derive(Clone, Copy, Debug)]
pub struct Aux {
    /// Address of the vDSO (AT_SYSINFO_EHDR).
    pub sysinfo_ehdr: u64,
    /// Features of the CPUs (AT_HWCAP, AT_HWCAP2).
    pub hwcap: (u64, u64),
    /// User and effective user, group and effective group.
    pub ids: [u32; 4],
    /// The program has more rights than who runs it.
    pub secure: bool,
    /// Random bytes for the program.
    pub random: [u8; 16],
}

/// A first stack, and the addresses that the kernel remembers of it.
#[derive(Debug)]
pub struct Stack {
    /// Bytes from `sp` up to the end of the stack.
    pub bytes: KVVec<u8>,
    /// The first stack pointer.
    pub sp: u64,
    /// First byte of the arguments' strings.
    pub arg_start: u64,
    /// End of them, and first byte of the environment's.
    pub arg_end: u64,
    /// End of the environment's strings.
    pub env_end: u64,
    /// The auxiliary vector, as it lies there.
    pub auxv: [(u64, u64); AUXV_LEN],
}

fn enomem(_: AllocError) -> Errno {
    Errno::ENOMEM
}

/// Writes words upward.
struct Words<'a>(&'a mut [u8]);

impl Words<'_> {
    fn push(&mut self, word: u64) {
        let (first, rest) = core::mem::take(&mut self.0).split_at_mut(8);
        first.copy_from_slice(&word.to_le_bytes());
        self.0 = rest;
    }
}

/// Addresses of strings that lie one behind the other from `at` on.
fn addresses(strings: &[u8], at: u64) -> impl Iterator<Item = u64> + '_ {
    let starts = strings.iter().enumerate().filter(|&(_, &byte)| byte == 0).map(|(n, _)| n + 1);
    core::iter::once(0)
        .chain(starts)
        .take_while(move |&start| start < strings.len())
        .map(move |start| at + start as u64)
}

/// Bytes that [`build`] takes below the end of a stack, at most.
#[must_use]
pub fn max_len(args: &Args) -> usize {
    let strings = args.filename().len() + args.argv().len() + args.envp().len();
    let words = 3 + args.argc() + args.envc() + 2 * AUXV_LEN;
    8 + strings + PAGE_SIZE + 32 + 8 * words + 16
}

/// Builds the stack that ends at `top`, a multiple of the page size. `shift` bytes, less than a page,
/// stay free below the strings (Linux: arch_align_stack).
///
/// # Errors
/// ENOMEM: memory is short, or there is no room below `top`.
pub fn build(
    args: &Args,
    loaded: &Loaded,
    aux: &Aux,
    top: u64,
    shift: u64,
) -> Result<Stack, Errno> {
    if (max_len(args) as u64) > top {
        return Err(Errno::ENOMEM);
    }
    let execfn = top - 8 - args.filename().len() as u64;
    let env_end = execfn;
    let arg_end = env_end - args.envp().len() as u64;
    let arg_start = arg_end - args.argv().len() as u64;
    let platform = ((arg_start - shift) & !15) - PLATFORM.len() as u64;
    let random = platform - aux.random.len() as u64;
    let auxv = auxv(loaded, aux, [execfn, platform, random]);
    let words = 3 + args.argc() + args.envc() + 2 * auxv.len();
    let sp = (random - 8 * words as u64) & !15;

    let mut bytes = KVVec::from_elem(0, (top - sp) as usize, Gfp::GFP_KERNEL).map_err(enomem)?;
    let mut put = |at: u64, what: &[u8]| {
        bytes[(at - sp) as usize..][..what.len()].copy_from_slice(what);
    };
    put(execfn, args.filename());
    put(arg_end, args.envp());
    put(arg_start, args.argv());
    put(platform, PLATFORM);
    put(random, &aux.random);
    let mut words = Words(&mut bytes);
    words.push(args.argc() as u64);
    addresses(args.argv(), arg_start).for_each(|at| words.push(at));
    words.push(0);
    addresses(args.envp(), arg_end).for_each(|at| words.push(at));
    words.push(0);
    for (key, value) in auxv {
        words.push(key);
        words.push(value);
    }
    Ok(Stack { bytes, sp, arg_start, arg_end, env_end, auxv })
}

/// The auxiliary vector, in Linux's order. AT_RSEQ_FEATURE_SIZE and AT_RSEQ_ALIGN are not in it, as
/// there is no rseq.
fn auxv(
    loaded: &Loaded,
    aux: &Aux,
    [execfn, platform, random]: [u64; 3],
) -> [(u64, u64); AUXV_LEN] {
    let [uid, euid, gid, egid] = aux.ids;
    [
        (auxvec::AT_SYSINFO_EHDR, aux.sysinfo_ehdr),
        (auxvec::AT_MINSIGSTKSZ, MINSIGSTKSZ),
        (auxvec::AT_HWCAP, aux.hwcap.0),
        (auxvec::AT_PAGESZ, PAGE_SIZE as u64),
        (auxvec::AT_CLKTCK, CLOCKS_PER_SEC),
        (auxvec::AT_PHDR, loaded.phdr),
        (auxvec::AT_PHENT, super::elf::PHDR_SIZE as u64),
        (auxvec::AT_PHNUM, loaded.phnum.into()),
        (auxvec::AT_BASE, loaded.base),
        (auxvec::AT_FLAGS, 0),
        (auxvec::AT_ENTRY, loaded.entry),
        (auxvec::AT_UID, uid.into()),
        (auxvec::AT_EUID, euid.into()),
        (auxvec::AT_GID, gid.into()),
        (auxvec::AT_EGID, egid.into()),
        (auxvec::AT_SECURE, aux.secure.into()),
        (auxvec::AT_RANDOM, random),
        (auxvec::AT_HWCAP2, aux.hwcap.1),
        (auxvec::AT_EXECFN, execfn),
        (auxvec::AT_PLATFORM, platform),
        (auxvec::AT_NULL, 0),
    ]
    .map(|(key, value)| (key.into(), value))
}
