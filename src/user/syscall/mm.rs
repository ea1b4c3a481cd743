//! Memory (Linux: mm/mmap.c, mm/mprotect.c, mm/mremap.c, mm/madvise.c, mm/mlock.c, mm/mincore.c).

use super::Args;
use crate::addr::PAGE_SIZE;
use crate::arch::uaccess::UserSlice;
use crate::errno::Errno;
use crate::fs::vfs::{MmapKind, OpenFile};
use crate::mm::mm_struct::{Limits, MmapArgs, UserMm, with_current};
use crate::user::process::Process;
use linux_raw_sys::general as abi;

/// Calls `f` with the caller's address space.
fn with_mm<R>(f: impl FnOnce(&UserMm) -> Result<R, Errno>) -> Result<R, Errno> {
    with_current(f).unwrap_or(Err(Errno::EFAULT))
}

pub(super) fn brk(process: &Process, args: &Args) -> Result<u64, Errno> {
    let limits = process.mm_limits();
    with_mm(|mm| Ok(mm.brk(args.get(0) as usize, &limits) as u64))
}

pub(super) fn mmap(process: &Process, args: &Args) -> Result<u64, Errno> {
    let [addr, len, prot, flags, fd, offset] = [0, 1, 2, 3, 4, 5].map(|n| args.get(n));
    if !offset.is_multiple_of(PAGE_SIZE as u64) {
        return Err(Errno::EINVAL);
    }
    let mut mapping = MmapArgs {
        addr: addr as usize,
        len: len as usize,
        prot: prot as u32,
        flags: flags as u32,
        file: None,
        pgoff: offset / PAGE_SIZE as u64,
    };
    let limits = process.mm_limits();
    if mapping.flags & abi::MAP_ANONYMOUS == 0 {
        attach(process, &mut mapping, fd as i32)?;
    }
    with_mm(|mm| Ok(mm.mmap(mapping, &limits)?.get() as u64))
}

/// Gives a mapping its file.
#[inline(never)]
fn attach(process: &Process, mapping: &mut MmapArgs, fd: i32) -> Result<(), Errno> {
    let file = process.with_caller(|caller| caller.files.get(fd))?;
    if mapping.len == 0 {
        return Err(Errno::EINVAL);
    }
    let shared = mapping.flags & abi::MAP_TYPE != abi::MAP_PRIVATE;
    let writable = mapping.prot & abi::PROT_WRITE != 0;
    match OpenFile::mmap(&file, shared, writable, mapping.len as u64)? {
        MmapKind::File(file) => mapping.file = Some(file),
        MmapKind::Anonymous => mapping.flags |= abi::MAP_ANONYMOUS,
    }
    Ok(())
}

pub(super) fn munmap(_: &Process, args: &Args) -> Result<u64, Errno> {
    with_mm(|mm| mm.munmap(args.get(0) as usize, args.get(1) as usize)).map(|()| 0)
}

pub(super) fn mprotect(process: &Process, args: &Args) -> Result<u64, Errno> {
    let limits = process.mm_limits();
    let (start, len) = (args.get(0) as usize, args.get(1) as usize);
    with_mm(|mm| mm.mprotect(start, len, args.uint(2), &limits)).map(|()| 0)
}

pub(super) fn mremap(process: &Process, args: &Args) -> Result<u64, Errno> {
    let limits = process.mm_limits();
    let [addr, old, new, to] = [0, 1, 2, 4].map(|n| args.get(n) as usize);
    with_mm(|mm| Ok(mm.mremap(addr, old, new, args.uint(3), to, &limits)? as u64))
}

pub(super) fn madvise(_: &Process, args: &Args) -> Result<u64, Errno> {
    let (start, len) = (args.get(0) as usize, args.get(1) as usize);
    with_mm(|mm| mm.madvise(start, len, args.uint(2))).map(|()| 0)
}

pub(super) fn mincore(_: &Process, args: &Args) -> Result<u64, Errno> {
    let (start, len) = (args.get(0) as usize, args.get(1) as usize);
    with_mm(|mm| {
        let mut left = mm.mincore_pages(start, len)?;
        let mut at = start;
        let mut to = args.slice(2, left)?;
        while left != 0 {
            let mut pages = [0; 512];
            let count = left.min(pages.len());
            let done = mm.mincore(at, &mut pages[..count])?;
            let (first, rest): (UserSlice, UserSlice) = to.split_at(done).ok_or(Errno::EFAULT)?;
            first.copy_from(&pages[..done])?;
            (to, at, left) = (rest, at + done * PAGE_SIZE, left - done);
        }
        Ok(0)
    })
}

pub(super) fn msync(_: &Process, args: &Args) -> Result<u64, Errno> {
    let (start, len) = (args.get(0) as usize, args.get(1) as usize);
    with_mm(|mm| mm.msync(start, len, args.uint(2))).map(|()| 0)
}

pub(super) fn mlock(process: &Process, args: &Args) -> Result<u64, Errno> {
    let limits = process.mm_limits();
    with_mm(|mm| mm.mlock(args.get(0) as usize, args.get(1) as usize, &limits)).map(|()| 0)
}

pub(super) fn mlock2(process: &Process, args: &Args) -> Result<u64, Errno> {
    let limits = process.mm_limits();
    let (start, len) = (args.get(0) as usize, args.get(1) as usize);
    with_mm(|mm| mm.mlock2(start, len, args.uint(2), &limits)).map(|()| 0)
}

pub(super) fn munlock(_: &Process, args: &Args) -> Result<u64, Errno> {
    with_mm(|mm| mm.munlock(args.get(0) as usize, args.get(1) as usize)).map(|()| 0)
}

pub(super) fn mlockall(process: &Process, args: &Args) -> Result<u64, Errno> {
    let limits = process.mm_limits();
    with_mm(|mm| mm.mlockall(args.uint(0), &limits)).map(|()| 0)
}

pub(super) fn munlockall(_: &Process, _: &Args) -> Result<u64, Errno> {
    with_mm(|mm| mm.munlockall()).map(|()| 0)
}

pub(super) fn mseal(_: &Process, args: &Args) -> Result<u64, Errno> {
    let (start, len) = (args.get(0) as usize, args.get(1) as usize);
    with_mm(|mm| mm.mseal(start, len, args.get(2))).map(|()| 0)
}

pub(super) fn remap_file_pages(process: &Process, args: &Args) -> Result<u64, Errno> {
    let limits: Limits = process.mm_limits();
    let (start, size) = (args.get(0) as usize, args.get(1) as usize);
    with_mm(|mm| mm.remap_file_pages(start, size, args.uint(2), args.get(3), args.uint(4), &limits))
        .map(|()| 0)
}
