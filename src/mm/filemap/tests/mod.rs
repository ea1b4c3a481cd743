//! The page cache of a file, and the areas that map it.

mod i_mmap;
mod radix_tree;

use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::arch::uaccess::KernelSink;
use crate::mm::page_alloc;
use crate::mm::slab::{kmem_cache_init, shrink_all};
use crate::mm::validate::validate;
use std::vec::Vec;

/// Runs `f` on a machine of 16 MiB, and sees that no page stays used, nor counted.
pub(in crate::mm) fn on_machine(f: impl FnOnce(&Machine)) {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), 16 << 20)], |machine| {
        page_alloc::init(machine.ram());
        kmem_cache_init(1);
        let before = page_alloc::nr_used_pages();
        f(machine);
        validate().unwrap();
        shrink_all();
        assert_eq!(page_alloc::nr_used_pages(), before, "pages were lost");
        for stat in [NodeStat::FilePages, NodeStat::Shmem] {
            assert_eq!(crate::mm::vmstat::node_page_state(None, stat), 0, "{stat:?}");
        }
    });
}

fn new_page() -> OwnedPage {
    OwnedPage::alloc(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO).expect("memory")
}

#[test]
fn a_page_in_the_cache_has_its_place_and_a_reference() {
    on_machine(|_| {
        let file = AddressSpace::new(true).unwrap();
        let other = AddressSpace::new(false).unwrap();
        assert_ne!(file.object(), other.object());
        let page = file.add(70_000, new_page(), || true).unwrap();
        let frame = page.frame();
        assert_eq!(frame.page().mapping(), file.page_mapping(70_000));
        assert_eq!(frame.page().refcount(), 2);
        assert_eq!(file.find_get_page(70_000).as_ref(), Some(&page));
        assert_eq!((file.find_get_page(69_999), other.find_get_page(70_000)), (None, None));
        match file.add(70_000, new_page(), || true) {
            Err(AddError::Exists(there)) => assert_eq!(there, page),
            result => panic!("{result:?}"),
        }
        assert!(matches!(file.add(3, new_page(), || false), Err(AddError::Beyond)));
        assert!(matches!(file.add(1 << 36, new_page(), || true), Err(AddError::Beyond)));
        for index in [0, 5, 6, 69_999, 70_001] {
            file.add(index, new_page(), || true).unwrap();
        }
        let found = file.find_get_pages::<3>(5, 70_000);
        assert_eq!(found.iter().map(|found| found.0).collect::<Vec<_>>(), [5, 6, 69_999]);
        drop(found);
        assert_eq!((file.next_page(7, 70_000), file.next_page(7, 69_998)), (Some(69_999), None));
        assert_eq!((file.truncate_range(6, 70_000, true), file.nr_pages()), (3, 3));
        // The page that somebody holds still lives, and is nobody's.
        assert_eq!((frame.page().mapping(), frame.page().refcount()), (None, 1));
    });
}

/// Numbers are given out anew, and the memory for them comes back with the last.
#[test]
fn numbers_of_files_are_used_again() {
    on_machine(|_| {
        let mut files: Vec<_> = (0..500).map(|_| AddressSpace::new(false).unwrap()).collect();
        let mut numbers: Vec<_> = files.iter().map(AddressSpace::object).collect();
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|two| two[0] < two[1]), "a number twice");
        let gone = files.swap_remove(77).object();
        assert_eq!(AddressSpace::new(false).unwrap().object(), gone);
        assert!(numbers.last() < Some(&1000));
    });
}

/// Two CPUs put pages at the same places while a third takes them out.
#[test]
fn cpus_that_add_and_remove_lose_no_page() {
    on_machine(|machine| {
        let file = AddressSpace::new(true).unwrap();
        machine.on_cpus(3, |cpu| {
            for n in 0..600 {
                let index = n * 37 % 200;
                if cpu == 2 {
                    file.truncate_range(index, index + 3, false);
                    continue;
                }
                match file.add(index, new_page(), || true) {
                    Ok(page) | Err(AddError::Exists(page)) => {
                        assert!(page.frame().page().refcount() >= 1);
                    }
                    Err(why) => panic!("{why:?}"),
                }
            }
        });
        machine.on_cpus(3, |_| shrink_all());
        let here = file.find_get_pages::<256>(0, u64::MAX);
        assert_eq!(here.len(), file.nr_pages());
        assert!(
            here.iter().all(|(n, page)| page.frame().page().mapping() == file.page_mapping(*n))
        );
    });
}

#[test]
fn contents_are_zeros_where_there_is_no_page() {
    on_machine(|_| {
        let file = AddressSpace::new(true).unwrap();
        let mut page = file.add(1, new_page(), || true).unwrap();
        let mut contents = file.write_contents();
        assert_eq!(contents.write(&mut page, 4090, 6, &mut b"abcdef".as_slice()), 6);
        contents.zero(1, 4091, 4093);
        contents.zero(0, 0, 10);
        drop(contents);
        let mut bytes = [7; 12];
        let mut sink = KernelSink::new(&mut bytes);
        let contents = file.read_contents();
        assert_eq!(contents.read(1, 4090, 6, &mut sink), 6);
        assert_eq!(contents.read(0, 4090, 6, &mut sink), 6);
        assert_eq!(&bytes, b"a\0\0def\0\0\0\0\0\0");
    });
}
