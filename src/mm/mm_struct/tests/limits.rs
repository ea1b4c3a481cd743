//! Limits of processes and of the machine.

use super::*;
use crate::mm::mm_struct::{
    Overcommit, set_overcommit_memory, sysctl, vm_commit_limit, vm_memory_committed,
};

const P: usize = PAGE_SIZE;

fn at(page: usize) -> usize {
    BASE + page * P
}

fn map_with(mm: &Mm, len: usize, prot: u32, flags: u32, limits: &Limits) -> Result<usize, Errno> {
    let args = MmapArgs { addr: 0, len, prot, flags: ANON | flags, file: None, pgoff: 0 };
    mm.mmap(args, limits).map(UserAddr::get)
}

#[test]
fn the_number_of_areas_is_limited() {
    on_machine(16, || {
        sysctl::set_max_map_count(6);
        let mm = new();
        fixed(&mm, 0, 10, W);
        fixed(&mm, 20, 10, R);
        fixed(&mm, 40, 10, W);
        assert_eq!(mm.munmap(at(43), P), Ok(()));
        // Two more areas are one too many: the first cut is made.
        assert_eq!(mm.mprotect(at(2), P, R, &ROOT), Ok(()));
        assert_eq!(areas(&mm), "0-2 rw-p, 2-3 r--p, 3-10 rw-p, 20-30 r--p, 40-43 rw-p, 44-50 rw-p");
        assert_eq!(mm.mprotect(at(22), P, W, &ROOT), Err(Errno::ENOMEM));
        assert_eq!(mm.munmap(at(25), P), Err(Errno::ENOMEM));
        assert_eq!(mm.munmap(at(29), P), Ok(()));
        assert_eq!(mm.munmap(at(49), P), Ok(()));
        // One over the limit can be mapped, and no more.
        assert!(map(&mm, 0, P, R, 0).is_ok());
        assert_eq!(map(&mm, 0, P, W, 0), Err(Errno::ENOMEM));
        mm.munmap(at(20), 20 * P).unwrap();
        mm.munmap(at(44), 20 * P).unwrap();
        assert_eq!(mm.map_count(), 5);
        assert_eq!(mm.mprotect(at(5), P, R, &ROOT), Err(Errno::ENOMEM));
        assert!(areas(&mm).starts_with("0-2 rw-p, 2-3 r--p, 3-5 rw-p, 5-10 rw-p, 40-43 rw-p"));
    });
}

#[test]
fn limits_of_a_process_hold() {
    on_machine(16, || {
        let mm = new();
        let few = Limits { as_: 4 * P as u64, can_ipc_lock: false, ..ROOT };
        assert!(map_with(&mm, 3 * P, W, 0, &few).is_ok());
        assert_eq!(map_with(&mm, 2 * P, W, 0, &few), Err(Errno::ENOMEM));
        let data = Limits { data: 4 * P as u64, data_max: 4 * P as u64, ..ROOT };
        assert_eq!(map_with(&mm, 2 * P, W, 0, &data), Err(Errno::ENOMEM));
        let read = map_with(&mm, 2 * P, R, 0, &data).unwrap();
        assert_eq!(mm.mprotect(read, 2 * P, W, &data), Err(Errno::ENOMEM));
        // Of a limit of 0 the hard one counts.
        let none = Limits { data: 0, ..data };
        assert!(map_with(&mm, P, W, 0, &none).is_ok());
        assert_eq!(map_with(&mm, P, W, 0, &none), Err(Errno::ENOMEM));
        let lock = Limits { memlock: 2 * P as u64, can_ipc_lock: false, ..ROOT };
        assert_eq!(map_with(&mm, 3 * P, W, uapi::MAP_LOCKED, &lock), Err(Errno::EAGAIN));
        let locked = map_with(&mm, 2 * P, W, uapi::MAP_LOCKED, &lock).unwrap();
        assert!(mm.tables().entry(locked + P).is_some(), "it is in memory");
        assert_eq!(mm.mlock(read, P, &lock), Err(Errno::ENOMEM));
        assert_eq!(mm.mlock(locked, 2 * P, &lock), Ok(()), "it is locked already");
        assert_eq!(mm.munlock(locked, P), Ok(()));
        assert_eq!(mm.mlock(read, P, &lock), Ok(()));
        assert_eq!(mm.totals().locked, 2);
        let not = Limits { memlock: 0, can_ipc_lock: false, ..ROOT };
        assert_eq!(mm.mlock(read, P, &not), Err(Errno::EPERM));
        assert_eq!(map_with(&mm, P, W, uapi::MAP_LOCKED, &not), Err(Errno::EPERM));
        assert_eq!(mm.mlockall(uapi::MCL_CURRENT, &lock), Err(Errno::ENOMEM));
        assert_eq!(mm.mlockall(8, &ROOT), Err(Errno::EINVAL));
        assert_eq!(mm.mlockall(uapi::MCL_FUTURE, &ROOT), Ok(()));
        let later = map_with(&mm, P, W, 0, &ROOT).unwrap();
        assert_eq!(mm.totals().locked, 3);
        assert!(mm.tables().entry(later).is_some());
        assert_eq!(mm.munlockall(), Ok(()));
        assert_eq!(mm.totals().locked, 0);
        mm.validate();
    });
}

#[test]
fn stacks_grow_by_faults_and_keep_their_distance() {
    on_machine(16, || {
        let mm = new();
        mm.set_limits(Limits { stack: 64 * P as u64, ..ROOT });
        mm.setup_arg_pages(at(1000), 2 * P, false, &ROOT).unwrap();
        write(&mm, at(999)).unwrap();
        write(&mm, at(990) + 5).unwrap();
        assert_eq!(areas(&mm), "990-1000 rw-p");
        assert_eq!(write(&mm, at(935)), Err(Fault::MapErr), "by RLIMIT_STACK");
        mm.set_limits(ROOT);
        // Something accessible below: 256 pages stay free.
        fixed(&mm, 600, 10, R);
        assert_eq!(write(&mm, at(866)), Ok(()));
        assert_eq!(write(&mm, at(865)), Err(Fault::MapErr));
        mm.mprotect(at(600), 10 * P, 0, &ROOT).unwrap();
        assert_eq!(write(&mm, at(865)), Ok(()));
        assert_eq!(areas(&mm), "600-610 ---p, 865-1000 rw-p");
        // Nothing is placed into the gap.
        let hint = map(&mm, at(700), P, R, 0).unwrap();
        assert_ne!(hint, at(700));
        assert_eq!(mm.totals().stack, 135);
        assert_eq!(write(&mm, at(605)), Err(Fault::AccErr));
        assert_eq!(write(&mm, at(5)), Err(Fault::MapErr));
        mm.validate();
    });
}

#[test]
fn promises_are_counted_and_limited() {
    on_machine(16, || {
        let mm = new();
        fixed(&mm, 0, 10, W);
        fixed(&mm, 20, 10, R);
        assert_eq!(vm_memory_committed(), 10);
        mm.mprotect(at(20), 5 * P, W, &ROOT).unwrap();
        assert_eq!(vm_memory_committed(), 15);
        // What has no page yet is promised no longer when it can't be written.
        mm.mprotect(at(20), P, R, &ROOT).unwrap();
        assert_eq!(vm_memory_committed(), 14);
        write(&mm, at(22)).unwrap();
        mm.mprotect(at(21), 2 * P, R, &ROOT).unwrap();
        assert_eq!(vm_memory_committed(), 14);
        // Over what is there: the difference.
        fixed(&mm, 0, 12, W);
        assert_eq!(vm_memory_committed(), 16);
        assert!(map(&mm, 0, 50 * P, W, uapi::MAP_NORESERVE).is_ok());
        assert_eq!(vm_memory_committed(), 16);
        // A single request for more than there is.
        assert_eq!(map(&mm, 0, 1 << 30, W, 0), Err(Errno::ENOMEM));
        set_overcommit_memory(Overcommit::Always);
        let large = map(&mm, 0, 1 << 30, W, 0).unwrap();
        assert_eq!(vm_memory_committed(), 16 + (1 << 18));
        mm.munmap(large, 1 << 30).unwrap();
        set_overcommit_memory(Overcommit::Never);
        let limit = vm_commit_limit() as usize;
        assert_eq!(map(&mm, 0, limit * P, W, 0), Err(Errno::ENOMEM));
        assert!(map(&mm, 0, limit * P, R, 0).is_ok());
        let room = limit - 16 - mm.totals().pages as usize / 32 - 1;
        let most = map(&mm, 0, room * P, W, uapi::MAP_NORESERVE).unwrap();
        assert_eq!(map(&mm, 0, 2 * P, W, 0), Err(Errno::ENOMEM));
        mm.munmap(most, room * P).unwrap();
        drop(mm);
        assert_eq!(vm_memory_committed(), 0);
    });
}

#[test]
fn layouts_leave_room_for_the_stack() {
    on_machine(8, || {
        let top = 1usize << 48;
        let gap = |stack: u64| top - Layout::pick(stack, None, false).mmap_base;
        assert_eq!(gap(8 << 20), 128 << 20);
        assert_eq!(gap(1 << 30), (1 << 30) + 256 * P);
        assert_eq!(gap(1 << 60), (top / 6 * 5) & !(P - 1));
        assert!(!Layout::pick(u64::MAX, None, false).topdown);
        assert_eq!(Layout::pick(8 << 20, None, true).mmap_base, top / 4);
        // 18 bits of pages at random, and the stack may be moved by 2^18 pages too.
        let random = Layout::pick(8 << 20, Some(u64::MAX), false).mmap_base;
        let pad = 256 * P + 0x3ffff * P + (8 << 20);
        assert_eq!(random, top - pad - 0x3ffff * P);
        let mm = Mm::new(Map::default(), 1, Layout::pick(u64::MAX, None, false));
        assert_eq!(map(&mm, 0, P, W, 0), Ok(top / 4));
        assert_eq!(map(&mm, 0, P, R, 0), Ok(top / 4 + P));
    });
}

/// Each allocation of a call fails in turn: its error is ENOMEM, and nothing has changed.
#[test]
fn each_allocation_fails_and_nothing_has_changed() {
    use crate::mm::alloc_pages::{FailPageAlloc, set_fail_page_alloc};
    use crate::mm::slab::{FailSlab, set_failslab};
    on_machine(16, || {
        let mm = new();
        let mut failures = 0;
        for n in 0..300 {
            for objects in [false, true] {
                let (areas_before, totals) = (areas(&mm), mm.totals());
                let committed = vm_memory_committed();
                if objects {
                    set_failslab(Some(FailSlab {
                        interval: 1,
                        probability: 100,
                        space: n % 3,
                        times: 1,
                    }));
                } else {
                    let min_order = crate::addr::Order::ZERO;
                    set_fail_page_alloc(Some(FailPageAlloc {
                        skip: n % 3,
                        interval: 1,
                        times: 1,
                        min_order,
                    }));
                }
                let page = 3 * n as usize;
                let (flags, prot) =
                    if n % 4 == 0 { (uapi::MAP_SHARED, R) } else { (uapi::MAP_PRIVATE, W) };
                let args = MmapArgs {
                    addr: at(page),
                    len: 2 * P,
                    prot,
                    flags: flags | uapi::MAP_ANONYMOUS | uapi::MAP_FIXED,
                    ..MmapArgs::default()
                };
                let result = mm.mmap(args, &ROOT);
                let failed = set_fail_page_alloc(None) + set_failslab(None);
                if let Err(error) = result {
                    failures += 1;
                    assert_eq!((error, failed), (Errno::ENOMEM, 1));
                    assert_eq!((areas(&mm), mm.totals()), (areas_before, totals));
                    assert_eq!(vm_memory_committed(), committed);
                    mm.mmap(
                        MmapArgs {
                            addr: at(page),
                            len: 2 * P,
                            prot,
                            flags: flags | uapi::MAP_ANONYMOUS | uapi::MAP_FIXED,
                            ..MmapArgs::default()
                        },
                        &ROOT,
                    )
                    .unwrap();
                }
                // A cut needs room too.
                let _ = mm.mprotect(at(page), P, if n % 2 == 0 { 0 } else { R }, &ROOT);
            }
        }
        assert!(failures > 20, "{failures}");
        drop(mm);
        assert_eq!(vm_memory_committed(), 0);
    });
}
