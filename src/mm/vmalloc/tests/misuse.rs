//! Misuse is caught.

use super::*;

#[test]
#[should_panic(expected = "vfree: no such area is in use at 0xffff800100000000")]
fn vfree_twice_is_caught() {
    machine(1024, |_| {
        let va = vmalloc(1, Gfp::GFP_KERNEL).unwrap();
        vfree(va);
        vfree(va);
    });
}

#[test]
#[should_panic(expected = "vfree: no such area")]
fn vfree_into_the_middle_is_caught() {
    machine(1024, |_| vfree(vmalloc(9000, Gfp::GFP_KERNEL).unwrap() + PAGE_SIZE));
}

#[test]
#[should_panic(expected = "vunmap: no such area")]
fn vunmap_of_a_vmalloc_area_is_caught() {
    machine(1024, |_| vunmap(vmalloc(9000, Gfp::GFP_KERNEL).unwrap()));
}

#[test]
#[should_panic(expected = "vunmap: no such area")]
fn vunmap_of_a_vmalloc_area_is_caught_on_the_short_way() {
    machine(1024, |_| {
        let get = |()| vmalloc(9000, Gfp::GFP_KERNEL).unwrap();
        // From here on their table is remembered.
        [(), ()].map(get).into_iter().for_each(vfree);
        vunmap(get(()));
    });
}

#[test]
#[should_panic(expected = "backs a vmalloc area")]
fn a_page_taken_from_under_an_area_is_caught() {
    machine(1024, |_| {
        let va = vmalloc(9000, Gfp::GFP_KERNEL).unwrap();
        let page = vmalloc_to_page(va).unwrap().page();
        page.set_type(crate::mm::page::PageType::Slab);
        vfree(va);
        vm_unmap_aliases();
    });
}
