//! The memory calls of an address space, without the way into the kernel.

use crate::harness::Bench;
use core::hint::black_box;
use granule::addr::PAGE_SIZE;
use granule::mm::mm_struct::{Layout, Limits, MmHandle, MmapArgs, UserMm};
use linux_raw_sys::general as uapi;

const RW: u32 = uapi::PROT_READ | uapi::PROT_WRITE;

/// Maps `len` bytes of anonymous memory.
fn map(mm: &UserMm, len: usize, prot: u32) -> usize {
    let flags = uapi::MAP_PRIVATE | uapi::MAP_ANONYMOUS;
    let args = MmapArgs { len, prot, flags, ..MmapArgs::default() };
    mm.mmap(args, &Limits::ROOT).map_or(0, |at| at.get())
}

/// An address space with `count` areas that don't merge.
fn with_areas(count: usize) -> Option<MmHandle> {
    let mm = MmHandle::new(Layout::pick(8 << 20, None, false)).ok()?;
    for n in 0..count {
        map(&mm, PAGE_SIZE, if n % 2 == 0 { uapi::PROT_READ } else { RW });
    }
    Some(mm)
}

/// All of this file.
pub fn run(bench: &Bench) {
    for (name, merging, areas) in [
        ("mm_mmap_munmap_4k_pair", "mm_mmap_munmap_4k_merging_pair", 24),
        ("mm_mmap_munmap_4k_10000_pair", "mm_mmap_munmap_4k_merging_10000_pair", 10_000),
    ] {
        let Some(mm) = with_areas(areas) else { return };
        bench.pair_of(name, 100, || {
            let at = map(&mm, PAGE_SIZE, uapi::PROT_READ);
            let _ = black_box(mm.munmap(at, PAGE_SIZE));
        });
        bench.pair_of(merging, 100, || {
            let at = map(&mm, PAGE_SIZE, RW);
            let _ = black_box(mm.munmap(at, PAGE_SIZE));
        });
    }
    let Some(mm) = with_areas(24) else { return };
    let at = map(&mm, 64 * PAGE_SIZE, RW);
    let middle = at + 32 * PAGE_SIZE;
    bench.pair_of("mm_mprotect_middle_pair", 100, || {
        let _ = black_box(mm.mprotect(middle, PAGE_SIZE, uapi::PROT_READ, &Limits::ROOT));
        let _ = black_box(mm.mprotect(middle, PAGE_SIZE, RW, &Limits::ROOT));
    });
    let heap = 0x5555_0000_0000;
    mm.set_marks(|marks| (marks.start_brk, marks.brk) = (heap, heap));
    mm.brk(heap + PAGE_SIZE, &Limits::ROOT);
    bench.pair_of("mm_brk_pair", 100, || {
        black_box(mm.brk(heap + 17 * PAGE_SIZE, &Limits::ROOT));
        black_box(mm.brk(heap + PAGE_SIZE, &Limits::ROOT));
    });
    bench.pair_of("mm_mremap_in_place_pair", 100, || {
        let size = 32 * PAGE_SIZE;
        let _ = black_box(mm.mremap(at, 64 * PAGE_SIZE, size, 0, 0, &Limits::ROOT));
        let _ = black_box(mm.mremap(at, size, 64 * PAGE_SIZE, 0, 0, &Limits::ROOT));
    });
}
