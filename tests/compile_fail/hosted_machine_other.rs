//! `Machine::run`: a frame of one machine is none of another's.
//@ target: host
//@ panics: is of another machine
#![forbid(unsafe_code)]

use granule::addr::{PhysAddr, PhysRange};
use granule::arch::hosted::Machine;
use granule::mm::gfp::Gfp;
use granule::mm::page_alloc::{self, OwnedPage};

fn machine<R>(at: u64, f: impl FnOnce(&Machine) -> R) -> R {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(at), 16 << 20)], f)
}

fn main() {
    let page = std::mem::ManuallyDrop::new(machine(0x4000_0000, |m| {
        page_alloc::init(m.ram());
        OwnedPage::alloc(Gfp::GFP_KERNEL).unwrap()
    }));
    machine(0x9_0000_0000, |m| {
        page_alloc::init(m.ram());
        let _flags = page.frame().page().flags();
    });
}
