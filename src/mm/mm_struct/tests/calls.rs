//! Effects of the calls, and their errors, by example.

use super::*;
use crate::mm::shmem::shmem_kernel_file;

const P: usize = PAGE_SIZE;

fn at(page: usize) -> usize {
    BASE + page * P
}

#[test]
fn mmap_grows_down_from_its_base_and_merges() {
    on_machine(16, || {
        let mm = new();
        let base = mm.layout().mmap_base;
        assert_eq!(base, (1 << 48) - (128 << 20));
        let first = map(&mm, 0, 3 * P, W, 0).unwrap();
        assert_eq!(first, base - 3 * P);
        // The next one touches it, and is one with it.
        assert_eq!(map(&mm, 0, P, W, 0), Ok(base - 4 * P));
        assert_eq!(mm.map_count(), 1);
        // A hint is an address where it is free, and none where it is not.
        assert_eq!(map(&mm, at(1) + 5, P, R, 0), Ok(at(1)));
        assert_eq!(map(&mm, at(1), P, R, 0), Ok(base - 5 * P));
        assert_eq!(map(&mm, 4097, P, R, 0), Ok(32768), "a hint below the lowest address");
        let noreplace = uapi::MAP_FIXED_NOREPLACE;
        assert_eq!(map(&mm, at(1), P, R, noreplace), Err(Errno::EEXIST));
        assert_eq!(map(&mm, at(2), P, R, noreplace), Ok(at(2)));
        assert_eq!(mm.totals().pages, 8);
        // Larger ones begin at a multiple of 2 MiB.
        let large = map(&mm, 0, 4 << 20, W, 0).unwrap();
        assert!(large.is_multiple_of(2 << 20) && large + (4 << 20) <= base - 5 * P);
        mm.validate();
        let used = crate::mm::page_alloc::nr_used_pages();
        drop(mm);
        assert!(crate::mm::page_alloc::nr_used_pages() < used);
        assert_eq!(crate::mm::mm_struct::vm_memory_committed(), 0);
    });
}

#[test]
fn errors_of_mmap_come_in_order() {
    on_machine(16, || {
        let mm = new();
        let file = shmem_kernel_file("f", 1 << 20, true).unwrap();
        let call = |addr, len, prot, flags, with_file: bool, pgoff| {
            let file = with_file.then(|| file.clone());
            mm.mmap(MmapArgs { addr, len, prot, flags, file, pgoff }, &ROOT).map(UserAddr::get)
        };
        let (fixed, shared) = (uapi::MAP_FIXED, uapi::MAP_SHARED);
        let none = uapi::MAP_ANONYMOUS;
        for (expected, found) in [
            (Errno::EINVAL, call(0, 0, R, 0xf0, false, 0)),
            (Errno::ENOMEM, call(0, usize::MAX, R, ANON, false, 0)),
            (Errno::ENOMEM, call(0, 1 << 63, R, none, false, 0)),
            (Errno::EOVERFLOW, call(0, P, R, ANON, false, u64::MAX)),
            (Errno::EINVAL, call(0, P, R, none, false, 0)),
            (Errno::EINVAL, call(0, P, R, none | uapi::MAP_SHARED_VALIDATE, false, 0)),
            (Errno::EINVAL, call(at(0) + 1, P, R, ANON | fixed, false, 0)),
            (Errno::ENOMEM, call((1 << 48) - P, 2 * P, R, ANON | fixed, false, 0)),
            (Errno::ENOMEM, call(1 << 48, P, R, ANON | fixed, false, 0)),
            (Errno::ENOMEM, call(0xffff << 48, P, R, ANON | fixed, false, 0)),
            (Errno::EINVAL, call(0, P, R, ANON | shared | uapi::MAP_GROWSDOWN, false, 0)),
            (Errno::EOVERFLOW, call(0, P, R, shared, true, 1 << 51)),
            (Errno::EOPNOTSUPP, call(0, P, R, uapi::MAP_SHARED_VALIDATE | uapi::MAP_SYNC, true, 0)),
            (Errno::EINVAL, call(0, P, R, uapi::MAP_PRIVATE | uapi::MAP_GROWSDOWN, true, 0)),
            (Errno::EINVAL, call(0, P, R, uapi::MAP_DROPPABLE | none | uapi::MAP_LOCKED, false, 0)),
            (Errno::EINVAL, call(0, P, R, ANON | uapi::MAP_HUGETLB | 7 << 26, false, 0)),
            (Errno::ENOMEM, call(0, P, R, ANON | uapi::MAP_HUGETLB | 21 << 26, false, 0)),
            (Errno::EINVAL, call(0, P, R, shared | uapi::MAP_HUGETLB, true, 0)),
        ] {
            assert_eq!(found, Err(expected));
        }
        assert_eq!(mm.map_count(), 0);
        // The last page of all can be mapped, and the first one by root.
        assert_eq!(call((1 << 48) - P, P, R, ANON | fixed, false, 0), Ok((1 << 48) - P));
        assert_eq!(call(0, P, R, ANON | fixed, false, 0), Ok(0));
        let user = Limits { cap_sys_rawio: false, ..ROOT };
        let args =
            MmapArgs { addr: 4096, len: P, prot: R, flags: ANON | fixed, ..MmapArgs::default() };
        assert_eq!(mm.mmap(args, &user), Err(Errno::EPERM));
        mm.validate();
    });
}

#[test]
fn munmap_cuts_and_checks() {
    on_machine(16, || {
        let mm = new();
        fixed(&mm, 0, 10, W);
        assert_eq!(mm.munmap(at(3), 2 * P), Ok(()));
        assert_eq!(areas(&mm), "0-3 rw-p, 5-10 rw-p");
        for (start, len) in [(at(0) + 1, P), (at(0), 0), (at(0), usize::MAX), (1 << 48, P)] {
            assert_eq!(mm.munmap(start, len), Err(Errno::EINVAL), "{start:#x} {len:#x}");
        }
        assert_eq!(mm.munmap(at(100), P), Ok(()));
        // The tag of an address does not count.
        assert_eq!(mm.munmap(at(0) | 0x55 << 56, 1), Ok(()));
        assert_eq!(areas(&mm), "1-3 rw-p, 5-10 rw-p");
        assert_eq!(mm.munmap(0, 1 << 48), Ok(()));
        assert_eq!(mm.totals(), Default::default());
        assert_eq!(crate::mm::mm_struct::vm_memory_committed(), 0);
    });
}

#[test]
fn mprotect_stops_at_holes() {
    on_machine(16, || {
        let mm = new();
        fixed(&mm, 0, 4, W);
        fixed(&mm, 6, 4, W);
        assert_eq!(mm.mprotect(at(1), 8 * P, R, &ROOT), Err(Errno::ENOMEM));
        assert_eq!(areas(&mm), "0-1 rw-p, 1-4 r--p, 6-10 rw-p");
        assert_eq!(mm.mprotect(at(1), P, W, &ROOT), Ok(()));
        assert_eq!(areas(&mm), "0-2 rw-p, 2-4 r--p, 6-10 rw-p");
        let grows = uapi::PROT_GROWSDOWN;
        for (start, len, prot, error) in [
            (at(0) + 1, P, R, Errno::EINVAL),
            (at(0), P, 0x100, Errno::EINVAL),
            (at(0), usize::MAX, 0x100, Errno::ENOMEM),
            (at(0), P, R | grows | uapi::PROT_GROWSUP, Errno::EINVAL),
            (at(0), P, R | grows, Errno::EINVAL),
            (at(4), P, R, Errno::ENOMEM),
            (at(40), P, R, Errno::ENOMEM),
            (1 << 50, P, R, Errno::ENOMEM),
        ] {
            assert_eq!(mm.mprotect(start, len, prot, &ROOT), Err(error), "{start:#x} {prot:#x}");
        }
        assert_eq!(mm.mprotect(at(50) + 4096, 0, 0x100, &ROOT), Ok(()));
        // A file that was opened for reading alone.
        assert_eq!(areas(&mm), "0-2 rw-p, 2-4 r--p, 6-10 rw-p");
    });
}

/// Areas whose pages have different identities stay apart, and so do those that one touched.
#[test]
fn pages_keep_areas_apart() {
    on_machine(16, || {
        let mm = new();
        fixed(&mm, 0, 2, W);
        fixed(&mm, 4, 2, W);
        write(&mm, at(0)).unwrap();
        write(&mm, at(4)).unwrap();
        fixed(&mm, 2, 2, W);
        assert_eq!(areas(&mm), "0-4 rw-p, 4-6 rw-p");
        // Cut, and touched apart: the neighbour's identity is taken.
        fixed(&mm, 10, 3, W);
        mm.mprotect(at(11), P, R, &ROOT).unwrap();
        write(&mm, at(10)).unwrap();
        write(&mm, at(12)).unwrap();
        mm.mprotect(at(11), P, W, &ROOT).unwrap();
        assert_eq!(areas(&mm), "0-4 rw-p, 4-6 rw-p, 10-12 rw-p, 12-13 rw-p");
        assert_eq!(mm.map_count(), 4);
    });
}

#[test]
fn the_heap_grows_and_shrinks() {
    on_machine(16, || {
        let mm = new();
        let start = at(100) + 8;
        mm.set_marks(|marks| (marks.start_brk, marks.brk) = (start, start));
        assert_eq!(mm.brk(0, &ROOT), start);
        assert_eq!(mm.brk(start + 3 * P, &ROOT), start + 3 * P);
        assert_eq!(areas(&mm), "101-104 rw-p");
        let mut text = String::new();
        mm.write_maps(&mut text).unwrap();
        assert_eq!(
            text,
            "7f00065000-7f00068000 rw-p 00000000 00:00 0                              [heap]\n"
        );
        assert_eq!(mm.brk(start + P, &ROOT), start + P);
        assert_eq!(areas(&mm), "101-102 rw-p");
        assert_eq!(mm.brk(start, &ROOT), start);
        assert_eq!(areas(&mm), "");
        // A page stays free before what comes next.
        fixed(&mm, 110, 1, W);
        assert_eq!(mm.brk(at(109), &ROOT), at(109));
        assert_eq!(mm.brk(at(110), &ROOT), at(109));
        // A mapping beside it is not one with it: the heap has VM_MTE_ALLOWED.
        fixed(&mm, 109, 1, W);
        assert_eq!(areas(&mm), "101-109 rw-p, 109-111 rw-p");
        assert_eq!(mm.brk(start - 1, &ROOT), at(109));
        let data = Limits { data: 5 * P as u64, ..ROOT };
        assert_eq!(mm.brk(at(108), &data), at(109), "by RLIMIT_DATA");
        assert_eq!(mm.brk(at(105), &data), at(105));
    });
}

#[test]
fn mremap_resizes_and_moves() {
    on_machine(16, || {
        let mm = new();
        let (may, to) = (uapi::MREMAP_MAYMOVE, uapi::MREMAP_MAYMOVE | uapi::MREMAP_FIXED);
        fixed(&mm, 0, 4, W);
        write(&mm, at(0)).unwrap();
        write(&mm, at(2)).unwrap();
        let page = mm.tables().entry(at(2));
        // In place.
        assert_eq!(mm.mremap(at(0), 4 * P, 6 * P, 0, 0, &ROOT), Ok(at(0)));
        assert_eq!(mm.mremap(at(0), 6 * P, 3 * P, 0, 0, &ROOT), Ok(at(0)));
        assert_eq!(areas(&mm), "0-3 rw-p");
        // To another place.
        assert_eq!(mm.mremap(at(0), 3 * P, 5 * P, to, at(20), &ROOT), Ok(at(20)));
        assert_eq!(areas(&mm), "20-25 rw-p");
        assert_eq!((mm.tables().entry(at(22)), mm.tables().entry(at(2))), (page, None));
        // Its pages say where it was: it does not merge with a new one before it.
        fixed(&mm, 19, 1, W);
        assert_eq!(areas(&mm), "19-20 rw-p, 20-25 rw-p");
        // What stays behind is empty.
        let keep = may | uapi::MREMAP_DONTUNMAP;
        assert_eq!(
            mm.mremap(at(21), 2 * P, 2 * P, keep | uapi::MREMAP_FIXED, at(40), &ROOT),
            Ok(at(40))
        );
        assert_eq!(mm.tables().entry(at(22)), None);
        assert_eq!(mm.tables().entry(at(41)), page);
        assert_eq!(mm.totals().pages, 8);
        fixed(&mm, 50, 2, W);
        for (addr, old, new, flags, new_addr, error) in [
            (at(0) + 1, P, P, 0, 0, Errno::EINVAL),
            (at(50), P, 0, 0, 0, Errno::EINVAL),
            (at(50), P, P, 64, 0, Errno::EINVAL),
            (at(50), P, P, uapi::MREMAP_FIXED, at(60), Errno::EINVAL),
            (at(50), P, 2 * P, keep, 0, Errno::EINVAL),
            (at(50), 2 * P, 2 * P, to, at(51), Errno::EINVAL),
            (at(50), 2 * P, 2 * P, to, at(60) + 1, Errno::EINVAL),
            (at(50), 2 * P, 2 * P, to, 1 << 48, Errno::EINVAL),
            (at(55), P, 2 * P, 0, 0, Errno::EFAULT),
            (at(50), 4 * P, 5 * P, may, 0, Errno::EFAULT),
            (at(50), 0, P, may, 0, Errno::EINVAL),
        ] {
            assert_eq!(mm.mremap(addr, old, new, flags, new_addr, &ROOT), Err(error), "{addr:#x}");
        }
        fixed(&mm, 52, 1, R);
        assert_eq!(mm.mremap(at(50), 2 * P, 3 * P, 0, 0, &ROOT), Err(Errno::ENOMEM));
        let moved = mm.mremap(at(50), 2 * P, 3 * P, may, 0, &ROOT).unwrap();
        assert_eq!(moved, mm.layout().mmap_base - 3 * P);
        mm.validate();
    });
}

/// A move that fails for want of tables puts everything back.
#[test]
fn a_move_that_fails_leaves_all_as_it_was() {
    on_machine(16, || {
        let mm = new();
        fixed(&mm, 0, 8, W);
        (0..8).for_each(|page| write(&mm, at(page)).unwrap());
        let before: std::vec::Vec<_> = (0..8).map(|page| mm.tables().entry(at(page))).collect();
        let (totals, committed) = (mm.totals(), crate::mm::mm_struct::vm_memory_committed());
        mm.tables().move_fails.store(true, Relaxed);
        let to = uapi::MREMAP_MAYMOVE | uapi::MREMAP_FIXED;
        assert_eq!(mm.mremap(at(0), 8 * P, 12 * P, to, at(50), &ROOT), Err(Errno::ENOMEM));
        assert_eq!(areas(&mm), "0-8 rw-p");
        let after: std::vec::Vec<_> = (0..8).map(|page| mm.tables().entry(at(page))).collect();
        assert_eq!(before, after);
        assert_eq!((totals, committed), (mm.totals(), crate::mm::mm_struct::vm_memory_committed()));
    });
}

#[test]
fn sealed_memory_stays() {
    on_machine(16, || {
        let mm = new();
        fixed(&mm, 0, 10, W);
        assert_eq!(mm.mseal(at(4), 2 * P, 0), Ok(()));
        assert_eq!(areas(&mm), "0-4 rw-p, 4-6 rw-p, 6-10 rw-p");
        assert_eq!(mm.mseal(at(9), 2 * P, 0), Err(Errno::ENOMEM));
        assert_eq!(mm.mseal(at(4), P, 1), Err(Errno::EINVAL));
        assert_eq!(mm.munmap(at(4), P), Err(Errno::EPERM));
        assert_eq!(mm.mprotect(at(5), P, R, &ROOT), Err(Errno::EPERM));
        assert_eq!(mm.mremap(at(4), P, 2 * P, uapi::MREMAP_MAYMOVE, 0, &ROOT), Err(Errno::EPERM));
        assert_eq!(map(&mm, at(5), P, R, uapi::MAP_FIXED), Err(Errno::EPERM));
        assert_eq!(areas(&mm), "0-4 rw-p, 4-6 rw-p, 6-10 rw-p");
        // The area before it is cut by then, as in Linux.
        assert_eq!(mm.munmap(at(2), 3 * P), Err(Errno::EPERM));
        assert_eq!(areas(&mm), "0-2 rw-p, 2-4 rw-p, 4-6 rw-p, 6-10 rw-p");
        assert_eq!(mm.madvise(at(4), P, uapi::MADV_DONTNEED), Ok(()), "it may be written");
    });
}

#[test]
fn advice_changes_flags_or_pages() {
    on_machine(16, || {
        let mm = new();
        fixed(&mm, 0, 8, W);
        (0..8).for_each(|page| write(&mm, at(page)).unwrap());
        assert_eq!(mm.madvise(at(1), 2 * P, uapi::MADV_DONTNEED), Ok(()));
        assert_eq!((mm.tables().entry(at(1)), mm.tables().entry(at(2))), (None, None));
        assert!(mm.tables().entry(at(3)).is_some());
        assert_eq!(mm.madvise(at(2), 2 * P, uapi::MADV_DONTFORK), Ok(()));
        assert_eq!(areas(&mm), "0-2 rw-p, 2-4 rw-p, 4-8 rw-p");
        assert_eq!(mm.madvise(at(2), 2 * P, uapi::MADV_DOFORK), Ok(()));
        assert_eq!(areas(&mm), "0-8 rw-p");
        use super::super::madvise::{MADV_GUARD_INSTALL, MADV_GUARD_REMOVE};
        assert_eq!(mm.madvise(at(4), P, MADV_GUARD_INSTALL), Ok(()));
        assert_eq!(write(&mm, at(4)), Err(Fault::MapErr));
        assert_eq!(mm.madvise(at(4), P, uapi::MADV_DONTNEED), Ok(()));
        assert_eq!(write(&mm, at(4)), Err(Fault::MapErr));
        assert_eq!(mm.madvise(at(4), P, MADV_GUARD_REMOVE), Ok(()));
        assert_eq!(write(&mm, at(4)), Ok(()));
        for (start, len, advice, error) in [
            (at(0), P, 5, Errno::EINVAL),
            (at(0), P, uapi::MADV_MERGEABLE, Errno::EINVAL),
            (at(0) + 1, P, uapi::MADV_DONTNEED, Errno::EINVAL),
            (at(0), usize::MAX, uapi::MADV_DONTNEED, Errno::EINVAL),
            (at(7), 2 * P, uapi::MADV_DONTNEED, Errno::ENOMEM),
            (at(7), 2 * P, uapi::MADV_DONTFORK, Errno::ENOMEM),
            (at(20), P, uapi::MADV_POPULATE_READ, Errno::ENOMEM),
            (at(0), P, uapi::MADV_REMOVE, Errno::EINVAL),
        ] {
            assert_eq!(mm.madvise(start, len, advice), Err(error), "{start:#x} {advice}");
        }
        // What lies before the hole was done.
        assert_eq!(mm.tables().entry(at(7)), None);
        assert_eq!(mm.madvise(at(0), 0, uapi::MADV_DONTNEED), Ok(()));
        mm.mprotect(at(6), P, R, &ROOT).unwrap();
        assert_eq!(mm.madvise(at(6), P, uapi::MADV_POPULATE_WRITE), Err(Errno::EINVAL));
        assert_eq!(mm.madvise(at(6), P, uapi::MADV_POPULATE_READ), Ok(()));
    });
}

#[test]
fn mincore_and_msync_look() {
    on_machine(16, || {
        let mm = new();
        fixed(&mm, 0, 4, W);
        write(&mm, at(1)).unwrap();
        let mut vec = [9; 6];
        assert_eq!(mm.mincore(at(0), &mut vec), Ok(4));
        assert_eq!(vec, [0, 1, 0, 0, 9, 9]);
        assert_eq!(mm.mincore(at(4), &mut vec), Err(Errno::ENOMEM));
        assert_eq!(mm.mincore_pages(at(0) + 1, P), Err(Errno::EINVAL));
        assert_eq!(mm.mincore_pages(at(0), 1 << 60), Err(Errno::ENOMEM));
        assert_eq!(mm.mincore_pages(at(0), P + 1), Ok(2));
        let (sync, async_) = (uapi::MS_SYNC, uapi::MS_ASYNC);
        assert_eq!(mm.msync(at(0), 4 * P, sync), Ok(()));
        assert_eq!(mm.msync(at(0), 5 * P, sync), Err(Errno::ENOMEM));
        assert_eq!(mm.msync(at(0), P, sync | async_), Err(Errno::EINVAL));
        assert_eq!(mm.msync(at(0) + 1, P, sync), Err(Errno::EINVAL));
        mm.mlock(at(2), P, &ROOT).unwrap();
        assert_eq!(mm.msync(at(0), 4 * P, uapi::MS_INVALIDATE), Err(Errno::EBUSY));
    });
}

#[test]
fn maps_read_as_those_of_linux() {
    on_machine(16, || {
        let mm = new();
        let file = shmem_kernel_file("some file", 1 << 20, true).unwrap();
        let args = |flags, prot, addr: usize, file| MmapArgs {
            addr,
            len: 2 * P,
            prot,
            flags: flags | uapi::MAP_FIXED,
            file,
            pgoff: 3,
        };
        mm.mmap(args(uapi::MAP_SHARED, W, at(0), Some(file.clone())), &ROOT).unwrap();
        mm.mmap(args(uapi::MAP_PRIVATE, R | 4, at(2), Some(file)), &ROOT).unwrap();
        let top = at(100);
        mm.setup_arg_pages(top, 4 * P, false, &ROOT).unwrap();
        let mut text = String::new();
        mm.write_maps(&mut text).unwrap();
        let expected = "\
7f00000000-7f00002000 rw-s 00003000 00:01 N                              /some file (deleted)
7f00002000-7f00004000 r-xp 00003000 00:01 N                              /some file (deleted)
7f00060000-7f00064000 rw-p 00000000 00:00 0                              [stack]
";
        let digits = |text: &str| {
            let lines = text.lines().map(|line| {
                let fields: std::vec::Vec<_> = line.split(' ').collect();
                if fields[3] == "00:01" {
                    line.replacen(&std::format!(" {} ", fields[4]), " N ", 1)
                } else {
                    line.into()
                }
            });
            lines.map(|line| line + "\n").collect::<String>()
        };
        assert_eq!(digits(&text), expected);
        write(&mm, at(99)).unwrap();
        let mut smap = String::new();
        assert_eq!(mm.write_smap_at(at(90), &mut smap), Ok(Some(top)));
        assert!(smap.contains("Size:                 16 kB\n"), "{smap}");
        assert!(
            smap.contains("\nRss:                   4 kB\nPss:                   4 kB\n"),
            "{smap}"
        );
        assert!(smap.ends_with("VmFlags: rd wr mr mw me gd ac \n"), "{smap}");
        let mut rollup = String::new();
        mm.write_smaps_rollup(&mut rollup).unwrap();
        assert!(rollup.starts_with("7f00000000-7f00064000 ---p 00000000 00:00 0                              [rollup]\n"), "{rollup}");
    });
}
