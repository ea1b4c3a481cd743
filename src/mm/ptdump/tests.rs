//! Tests of the dump on mappings made for it, and of the check for writable and executable
//! pages.

use super::*;
use crate::addr::{PMD_SIZE, PUD_SIZE, PhysAddr};
use crate::arch::pgtable::{KernelAttrs, MapFlags};
use crate::arch::phys_to_virt;
use crate::mm::vmalloc::tests::machine;
use std::string::String;
use std::vec::Vec;

const MEM: PhysAddr = PhysAddr::new(0x80_0000_0000);
const VA: VirtAddr = layout::VMALLOC.start();

fn map(offset: usize, bytes: usize, attrs: KernelAttrs) {
    let va = VirtRange::from_size(VA + offset, bytes);
    init_mm::testing::map_range(va, MEM + offset as u64, attrs, MapFlags::empty()).unwrap();
}

#[test]
fn like_neighbours_are_one_line() {
    machine(1024, |_| {
        map(0, PAGE_SIZE, KernelAttrs::KERNEL);
        map(PAGE_SIZE, 2 * PAGE_SIZE, KernelAttrs::KERNEL);
        map(3 * PAGE_SIZE, PAGE_SIZE, KernelAttrs::KERNEL_RO);
        // Alike, with a gap before it.
        map(5 * PAGE_SIZE, PAGE_SIZE, KernelAttrs::KERNEL_RO);
        map(0x10000, 0x20000, KernelAttrs::KERNEL_ROX.guarded());
        map(PMD_SIZE, 3 * PMD_SIZE, KernelAttrs::NORMAL_NC);
        map(PUD_SIZE, PUD_SIZE, KernelAttrs::DEVICE);
        let mut text = String::new();
        dump(&mut text).unwrap();
        let lines: Vec<_> =
            text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>()).collect();
        let is = |line: usize, words: &str| {
            assert_eq!(lines[line], words.split(' ').collect::<Vec<_>>(), "{text}");
        };
        is(6, "---[ vmalloc area start ]---");
        // The columns of Linux.
        assert_eq!(
            text.lines().nth(7),
            Some(
                "0xffff800100000000-0xffff800100003000          12K PTE       RW NX SHD AF            UXN    MEM/NORMAL"
            )
        );
        is(7, "0xffff800100000000-0xffff800100003000 12K PTE RW NX SHD AF UXN MEM/NORMAL");
        is(8, "0xffff800100003000-0xffff800100004000 4K PTE ro NX SHD AF UXN MEM/NORMAL");
        is(9, "0xffff800100005000-0xffff800100006000 4K PTE ro NX SHD AF UXN MEM/NORMAL");
        is(10, "0xffff800100010000-0xffff800100030000 128K PTE ro x SHD AF CON UXN GP MEM/NORMAL");
        is(11, "0xffff800100200000-0xffff800100800000 6M PMD RW NX AF BLK UXN MEM/NORMAL-NC");
        is(12, "0xffff800140000000-0xffff800180000000 1G PUD RW NX AF BLK UXN DEVICE/nGnRE");
        is(13, "---[ vmalloc area end ]---");
        assert_eq!(lines.len(), 18);
        assert_eq!(check_wx(|run| panic!("{run}")), 0);
    });
}

#[test]
fn what_lies_in_no_region_is_told() {
    machine(1024, |_| {
        let stray = VirtRange::from_size(layout::VMALLOC.end() + PAGE_SIZE, PAGE_SIZE);
        init_mm::testing::map_range(stray, MEM, KernelAttrs::KERNEL, MapFlags::empty()).unwrap();
        let mut text = String::new();
        dump(&mut text).unwrap();
        assert!(text.ends_with("MEM/NORMAL (in no region)\n"), "{text}");
    });
}

#[test]
fn a_writable_and_executable_page_is_found() {
    machine(1024, |_| {
        map(0, 4 * PAGE_SIZE, KernelAttrs::KERNEL);
        // No KernelAttrs says this: the word itself is changed.
        let mut table = init_mm::root().unwrap();
        for level in [Level::Pgd, Level::Pud, Level::Pmd] {
            table = PhysAddr::new(word(table, level.index(VA)).read() & 0x0000_ffff_ffff_f000);
        }
        let entry = word(table, Level::Pte.index(VA + PAGE_SIZE));
        entry.write(entry.read() & !(1 << 53));
        let mut found = Vec::new();
        assert_eq!(check_wx(|run| found.push(*run)), 1);
        assert_eq!(found[0].va, VirtRange::from_size(VA + PAGE_SIZE, PAGE_SIZE));
        assert!(init_mm::validate().is_err());
        entry.write(entry.read() | 1 << 53);
        assert_eq!(check_wx(|_| {}), 0);
        init_mm::validate().unwrap();
    });
}

/// Pages that one mapping lets run and another lets be written.
#[test]
fn a_page_that_is_writable_by_another_mapping_is_found() {
    machine(1024, |_| {
        // Code in pages that lie apart, more than are looked at together.
        for page in 0..40 {
            let va = VirtRange::from_size(VA + page * PAGE_SIZE, PAGE_SIZE);
            let pa = MEM + (2 * page * PAGE_SIZE) as u64;
            let rox = KernelAttrs::KERNEL_ROX;
            init_mm::testing::map_range(va, pa, rox, MapFlags::empty()).unwrap();
        }
        assert_eq!(check_wx(|run| panic!("{run}")), 0);
        // How many of three pages from frame `page` on are found, mapped once more.
        let second = |page: usize, attrs| {
            let va = VirtRange::from_size(VA + PMD_SIZE, 3 * PAGE_SIZE);
            let pa = MEM + (page * PAGE_SIZE) as u64;
            init_mm::testing::map_range(va, pa, attrs, MapFlags::empty()).unwrap();
            let mut runs = 0;
            let count = check_wx(|run| {
                assert!(va.contains_range(run.va), "{run}");
                runs += 1;
            });
            init_mm::testing::unmap(va).flush();
            assert_eq!(count, runs);
            count
        };
        assert_eq!(second(0, KernelAttrs::KERNEL), 2);
        assert_eq!(second(75, KernelAttrs::KERNEL), 1);
        assert_eq!(second(76, KernelAttrs::KERNEL), 2);
        assert_eq!(second(79, KernelAttrs::KERNEL), 0);
        assert_eq!(second(76, KernelAttrs::KERNEL_RO), 0);
        // By the linear map, where it has them in a block.
        let linear = layout::LINEAR.start() + MEM.get() as usize;
        let block = VirtRange::from_size(linear, PMD_SIZE);
        init_mm::testing::map_range(block, MEM, KernelAttrs::KERNEL, MapFlags::empty()).unwrap();
        assert_eq!(check_wx(|run| assert_eq!(run.va, block)), 40);
    });
}

#[test]
fn the_check_walks_a_long_run_in_pieces() {
    machine(1024, |_| {
        const PIECE: usize = 128 << 20;
        map(0, PAGE_SIZE, KernelAttrs::KERNEL);
        // In blocks of 2 MiB, all of them with the contiguous bit.
        map(PIECE, 2 * PIECE + 16 * PMD_SIZE, KernelAttrs::NORMAL_NC);
        let mut walked = Vec::new();
        let vmalloc = |run: &Run| layout::VMALLOC.contains_range(run.va).then(|| run.va.len());
        assert_eq!(check_wx_by_piece(|run| walked.extend(vmalloc(run)), |run| panic!("{run}")), 0);
        assert_eq!(walked, [PAGE_SIZE, PIECE, PIECE, 16 * PMD_SIZE]);
        // Whoever dumps it sees one run.
        assert_eq!(runs(layout::VMALLOC).count(), 2);
    });
}

struct Word(*mut u64);

fn word(table: PhysAddr, index: usize) -> Word {
    let at = phys_to_virt(table + 8 * index as u64).get();
    Word(core::ptr::with_exposed_provenance_mut(at))
}

#[allow(unsafe_code)]
impl Word {
    fn read(&self) -> u64 {
        // SAFETY: a word of a table of this test's machine, which nobody else uses.
        unsafe { self.0.read() }
    }
    fn write(&self, value: u64) {
        // SAFETY: as above.
        unsafe { self.0.write(value) }
    }
}
