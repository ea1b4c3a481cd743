//! Files of shared memory against arrays of bytes.

use super::*;
use crate::addr::Order;
use crate::arch::uaccess::KernelSink;
use crate::mm::alloc_pages::{FailPageAlloc, set_fail_page_alloc};
use crate::mm::filemap::tests::on_machine;
use crate::mm::page_alloc::nr_used_pages;
use crate::mm::slab::{FailSlab, set_failslab};
use crate::mm::vmstat::{NodeStat, node_page_state};
use proptest::prelude::*;
use std::cell::Cell;
use std::vec;
use std::vec::Vec;

const PAGE: u64 = PAGE_SIZE as u64;

fn contents(file: &Shmem, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; len];
    let mut sink = KernelSink::new(&mut bytes);
    let read = file.read(at, &mut sink).unwrap();
    assert_eq!(sink.filled().len(), read);
    bytes.truncate(read);
    bytes
}

fn write(file: &Shmem, at: u64, bytes: &[u8]) -> Result<usize, Errno> {
    file.write(Some(at), &mut &*bytes, u64::MAX).map(|(done, _)| done)
}

#[derive(Clone, Debug)]
enum Op {
    Write(u64, usize),
    Append(usize),
    Read(u64, usize),
    Truncate(u64),
    Punch(u64, u64),
    Allocate(u64, u64, bool),
    Fault(u64),
    Seek(u64, bool),
}

const MAX: u64 = 12 * PAGE;

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..MAX, 0..9000usize).prop_map(|(at, len)| Op::Write(at, len)),
        (0..5000usize).prop_map(Op::Append),
        (0..MAX, 0..9000usize).prop_map(|(at, len)| Op::Read(at, len)),
        (0..MAX).prop_map(Op::Truncate),
        (0..MAX, 1..3 * PAGE).prop_map(|(at, len)| Op::Punch(at, len)),
        (0..MAX, 1..3 * PAGE, any::<bool>())
            .prop_map(|(at, len, keep)| Op::Allocate(at, len, keep)),
        (0..13u64).prop_map(Op::Fault),
        (0..MAX, any::<bool>()).prop_map(|(at, hole)| Op::Seek(at, hole)),
    ]
}

/// A file as an array of bytes, and the pages that it should have.
#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    pages: std::collections::BTreeSet<u64>,
}

impl Model {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = at as usize + bytes.len();
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[at as usize..end].copy_from_slice(bytes);
        self.pages.extend(at / PAGE..(end as u64).div_ceil(PAGE));
    }

    fn seek(&self, from: u64, hole: bool) -> Result<u64, Errno> {
        let size = self.bytes.len() as u64;
        if from >= size {
            return Err(Errno::ENXIO);
        }
        let is = |at: u64| self.pages.contains(&(at / PAGE)) != hole;
        match (from..size).find(|&at| is(at)) {
            None if hole => Ok(size),
            found => found.ok_or(Errno::ENXIO),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_file_is_an_array_of_bytes(ops in prop::collection::vec(op(), 1..60)) {
        on_machine(|_| {
            let limits = ShmemLimits { blocks: Limit::new(0), inodes: Limit::new(0) };
            let limits = KArc::new(limits, Gfp::GFP_KERNEL).unwrap();
            let file = Shmem::new(0, true, Some(limits.clone())).unwrap();
            let mut model = Model::default();
            for (n, op) in (1..).zip(&ops) {
                match *op {
                    Op::Write(at, len) => {
                        assert_eq!(write(&file, at, &vec![n; len]), Ok(len));
                        model.write(at, &vec![n; len]);
                    }
                    Op::Append(len) => {
                        let at = model.bytes.len() as u64;
                        let written = file.write(None, &mut vec![n; len].as_slice(), u64::MAX);
                        assert_eq!(written, Ok((len, at)));
                        model.write(at, &vec![n; len]);
                    }
                    Op::Read(at, len) => {
                        let from = (at as usize).min(model.bytes.len());
                        let to = (from + len).min(model.bytes.len());
                        assert_eq!(contents(&file, at, len), model.bytes[from..to]);
                    }
                    Op::Truncate(size) => {
                        file.truncate(size).unwrap();
                        let shrinks = size <= model.bytes.len() as u64;
                        model.bytes.resize(size as usize, 0);
                        if shrinks {
                            model.pages.retain(|&page| page < size.div_ceil(PAGE));
                        }
                    }
                    Op::Punch(at, len) => {
                        file.punch_hole(at, len);
                        let end = ((at + len) as usize).min(model.bytes.len());
                        if (at as usize) < end {
                            model.bytes[at as usize..end].fill(0);
                        }
                        let gone = at.div_ceil(PAGE)..(at + len) / PAGE;
                        model.pages.retain(|page| !gone.contains(page));
                    }
                    Op::Allocate(at, len, keep) => {
                        assert_eq!(file.allocate(at, len, keep), Ok(()));
                        let size = model.bytes.len().max((at + len) as usize);
                        if !keep {
                            model.bytes.resize(size, 0);
                        }
                        model.pages.extend(at / PAGE..(at + len).div_ceil(PAGE));
                    }
                    Op::Fault(index) => {
                        let inside = index < (model.bytes.len() as u64).div_ceil(PAGE);
                        match file.fault(index) {
                            Ok(frame) => {
                                assert!(inside);
                                model.pages.insert(index);
                                assert_eq!(frame.page().refcount(), 2);
                                // SAFETY: the reference that the fault returned.
                                unsafe { crate::mm::page_alloc::put_page(frame) };
                            }
                            Err(why) => assert!(!inside && why == FaultError::Sigbus),
                        }
                    }
                    Op::Seek(at, hole) => {
                        assert_eq!(file.seek_data(at, hole), model.seek(at, hole));
                    }
                }
                assert_eq!(file.size(), model.bytes.len() as u64, "after {op:?}");
                assert_eq!(file.nr_pages(), model.pages.len() as u64, "after {op:?}");
                assert_eq!(limits.blocks.used(), model.pages.len() as u64);
                assert_eq!(node_page_state(None, NodeStat::Shmem), model.pages.len());
            }
            assert_eq!(contents(&file, 0, MAX as usize * 2), model.bytes);
            drop(file);
            assert_eq!(limits.blocks.used(), 0);
        });
    }
}

#[test]
fn limits_end_a_write_where_they_are_reached() {
    on_machine(|_| {
        let limits = ShmemLimits { blocks: Limit::new(3), inodes: Limit::new(0) };
        let limits = KArc::new(limits, Gfp::GFP_KERNEL).unwrap();
        let file = Shmem::new(0, true, Some(limits.clone())).unwrap();
        // Two pages and a half fit, as the first page is one already.
        assert_eq!(write(&file, PAGE / 2, &[1; 5 * PAGE_SIZE]), Ok(PAGE_SIZE * 5 / 2));
        assert_eq!(file.size(), 3 * PAGE);
        assert_eq!(write(&file, 3 * PAGE, &[1]), Err(Errno::ENOSPC));
        assert_eq!(file.fault(2).map(|_| ()).err(), None);
        file.truncate(10 * PAGE).unwrap();
        assert_eq!(file.fault(7), Err(FaultError::Sigbus));
        // What an allocation added is gone when it fails.
        file.punch_hole(PAGE, PAGE);
        assert_eq!((limits.blocks.used(), file.allocate(0, 3 * PAGE, false)), (2, Ok(())));
        file.punch_hole(PAGE, PAGE);
        assert_eq!(file.allocate(5 * PAGE, 2 * PAGE, false), Err(Errno::ENOSPC));
        assert_eq!((limits.blocks.used(), file.size()), (2, 10 * PAGE));
        assert_eq!(file.allocate(0, 4 * PAGE, false), Err(Errno::ENOSPC));
        // The caller's own limit.
        let mut source: &[u8] = &[2; 100];
        assert_eq!(file.write(Some(60), &mut source, 100), Ok((40, 60)));
        assert_eq!(file.write(Some(100), &mut source, 100), Err(Errno::EFBIG));
        assert_eq!(file.write(None, &mut source, 100), Err(Errno::EFBIG));
        // SAFETY: the reference of the fault above.
        unsafe {
            crate::mm::page_alloc::put_page(file.mapping().find_get_page(2).unwrap().frame())
        };
    });
}

#[test]
fn sizes_have_an_end() {
    on_machine(|_| {
        let file = Shmem::new(0, true, None).unwrap();
        assert_eq!(file.truncate(MAX_BYTES), Ok(()));
        assert_eq!(file.truncate(MAX_BYTES + 1), Err(Errno::EFBIG));
        assert_eq!(write(&file, MAX_BYTES - 3, b"12345"), Ok(3));
        assert_eq!(write(&file, MAX_BYTES, b"1"), Err(Errno::EFBIG));
        assert_eq!(write(&file, u64::MAX, b"1"), Err(Errno::EFBIG));
        assert_eq!(contents(&file, MAX_BYTES - 5, 10), b"\0\x00123");
        assert_eq!(contents(&file, u64::MAX - 5, 10), b"");
        assert_eq!(file.seek_data(1, false), Ok(MAX_BYTES - PAGE));
        for len in [1, PAGE, u64::MAX] {
            assert_eq!(file.allocate(MAX_BYTES, len, true), Err(Errno::EFBIG));
        }
        file.punch_hole(u64::MAX, u64::MAX);
        file.punch_hole(0, u64::MAX);
        assert_eq!((file.nr_pages(), file.size()), (0, MAX_BYTES));
        assert_eq!(Shmem::new(MAX_BYTES + 1, true, None).err(), Some(Errno::EINVAL));
    });
}

std::thread_local! {
    static PROMISED: Cell<u64> = const { Cell::new(0) };
}

/// An account of at most 100 pages.
struct Account;

impl VmAccounting for Account {
    fn charge(&self, pages: u64) -> Result<(), Errno> {
        let sum = PROMISED.get() + pages;
        if sum > 100 {
            return Err(Errno::ENOMEM);
        }
        PROMISED.set(sum);
        Ok(())
    }
    fn uncharge(&self, pages: u64) {
        PROMISED.set(PROMISED.get() - pages);
    }
}

#[test]
fn memory_is_promised_with_the_size_or_with_the_pages() {
    on_machine(|_| {
        register_accounting(&Account);
        let whole = Shmem::new(10 * PAGE + 1, false, None).unwrap();
        assert_eq!(PROMISED.get(), 11);
        write(&whole, 0, b"x").unwrap();
        assert_eq!(PROMISED.get(), 11);
        whole.truncate(3 * PAGE).unwrap();
        assert_eq!(whole.truncate(200 * PAGE), Err(Errno::ENOMEM));
        assert_eq!((whole.size(), PROMISED.get()), (3 * PAGE, 3));
        assert_eq!(whole.allocate(0, 5 * PAGE, false), Ok(()));
        assert_eq!(PROMISED.get(), 5);
        let later = Shmem::new(1000 * PAGE, true, None).unwrap();
        write(&later, 7, &[1; PAGE_SIZE]).unwrap();
        assert_eq!(PROMISED.get(), 7);
        later.punch_hole(0, PAGE);
        assert_eq!(PROMISED.get(), 6);
        assert_eq!(Shmem::new(95 * PAGE, false, None).err(), Some(Errno::ENOMEM));
        assert_eq!(write(&later, 0, &vec![1; 200 * PAGE_SIZE]), Ok(95 * PAGE_SIZE));
        drop((whole, later));
        assert_eq!(PROMISED.get(), 0);
    });
}

/// A call that allocates for a file.
type Call = fn(&Shmem) -> Result<(), Errno>;

/// Each allocation of a write, a fault and an allocation ahead fails once.
#[test]
fn want_of_memory_loses_nothing() {
    on_machine(|_| {
        let calls: [Call; 3] = [
            |file| write(file, 70 * PAGE, b"x").map(|_| ()),
            |file| file.allocate(70 * PAGE, 3 * PAGE, false),
            |file| match file.fault(70) {
                Ok(frame) => {
                    // SAFETY: the reference that the fault returned.
                    unsafe { crate::mm::page_alloc::put_page(frame) };
                    Ok(())
                }
                Err(why) => {
                    assert_eq!(why, FaultError::Oom);
                    Err(Errno::ENOMEM)
                }
            },
        ];
        for call in calls {
            let mut failures = 0;
            for space in 0.. {
                for slab in [true, false] {
                    let file = Shmem::new(0, true, None).unwrap();
                    write(&file, 0, b"here").unwrap();
                    file.truncate(75 * PAGE).unwrap();
                    let before = nr_used_pages();
                    if slab {
                        let (interval, probability, times) = (1, 100, 1);
                        set_failslab(Some(FailSlab { interval, probability, space, times }));
                    } else {
                        let (interval, times, min_order) = (1, 1, Order::ZERO);
                        let which = FailPageAlloc { skip: space, interval, times, min_order };
                        set_fail_page_alloc(Some(which));
                    }
                    let result = call(&file);
                    let failed = set_failslab(None) + set_fail_page_alloc(None);
                    if result.is_err() {
                        assert_eq!((result, file.nr_pages()), (Err(Errno::ENOMEM), 1));
                        crate::mm::slab::shrink_all();
                        assert!(nr_used_pages() <= before);
                    }
                    failures += failed;
                    assert_eq!(contents(&file, 0, 4), b"here");
                    assert_eq!(call(&file), Ok(()));
                }
                if space == 8 {
                    break;
                }
            }
            assert!(failures >= 3, "{failures} allocations failed");
        }
    });
}

#[test]
fn files_without_a_name_say_what_they_are() {
    on_machine(|_| {
        let file = shmem_zero_setup(3 * PAGE, false).unwrap();
        let mut path = std::string::String::new();
        file.fmt_path(&mut path).unwrap();
        assert_eq!((path.as_str(), file.id().0, file.is_shmem()), ("/dev/zero (deleted)", 1, true));
        let other = shmem_kernel_file("memfd:x", 0, true).unwrap();
        assert_ne!(other.id(), file.id());
        assert_eq!(file.fault(3, true), Err(FaultError::Sigbus));
        let frame = file.fault(2, true).unwrap();
        assert_eq!(frame.page().mapping(), file.mapping().page_mapping(2));
        // SAFETY: the reference that the fault returned.
        unsafe { crate::mm::page_alloc::put_page(frame) };
    });
}
