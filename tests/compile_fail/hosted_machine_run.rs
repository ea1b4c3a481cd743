//! `Machine::run`: a value that escapes the closure can be read, and is not given to an allocator
//! that does not have it. The machine itself does not escape.
//@ target: host
//@ panics: this thread is no CPU of a machine: call inside Machine::run
#![forbid(unsafe_code)]

use granule::addr::{PhysAddr, PhysRange};
use granule::arch::hosted::Machine;
use granule::mm::alloc::KBox;
use granule::mm::gfp::Gfp;
use granule::mm::{page_alloc, slab};

fn machine<R>(f: impl FnOnce(&Machine) -> R) -> R {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), 16 << 20)], f)
}

fn boxed(text: &str) -> KBox<String> {
    machine(|m| {
        page_alloc::init(m.ram());
        slab::kmem_cache_init(1);
        KBox::new(text.to_owned(), Gfp::GFP_KERNEL).unwrap()
    })
}

fn main() {
    let escaped = boxed("escaped");
    let other = boxed("from another machine");
    for _ in 0..50 {
        let _filled = machine(|m| page_alloc::init(m.ram()));
    }
    assert_eq!((escaped.as_str(), other.as_str()), ("escaped", "from another machine"));
    std::mem::forget(other);
    drop(escaped);
}
