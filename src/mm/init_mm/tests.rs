//! Ranges that may not be broken, not even for a moment.
#![deny(unsafe_code)]

use super::*;
use crate::addr::{PMD_SIZE, PhysRange};
use crate::arch::hosted::Machine;

/// A break of the mapping of the stack in use, of the kernel image or of the frame descriptors
/// could not be ended: exceptions need all three.
#[test]
fn exceptions_keep_what_they_need() {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 1 << 20);
    Machine::run(&[ram], |_| {
        let recent = &mut RecentTables::new();
        let access = LinearAccess::new(recent);
        let here = 0u8;
        let stack = VirtAddr::from_ptr(&raw const here);
        for size in [PAGE_SIZE, CONT_PTE_SIZE, PMD_SIZE] {
            let around = |at: VirtAddr| VirtRange::from_size(at.align_down(size), size);
            assert!(!access.may_break(around(stack)), "{size:#x} bytes around the stack");
            for needed in [layout::KIMAGE, layout::VMEMMAP] {
                assert!(!access.may_break(around(needed.start())), "{size:#x} of {needed:?}");
                assert!(!access.may_break(around(needed.end() - size)), "{size:#x} of {needed:?}");
            }
            assert!(access.may_break(around(layout::LINEAR.start())));
            assert!(access.may_break(around(stack + 4 * PMD_SIZE)), "others' stacks are theirs");
        }
    });
}
