//! The kernel image.

#![no_std]
#![no_main]

use granule::init::Boot;

granule::kernel_main!(main);

fn main(_boot: &Boot) -> u8 {
    0
}

struct Null;
// SAFETY: temp
unsafe impl core::alloc::GlobalAlloc for Null {
    unsafe fn alloc(&self, _: core::alloc::Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: core::alloc::Layout) {}
}
#[global_allocator]
static NULL: Null = Null;
