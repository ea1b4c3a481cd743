//! Control: what safe code can do with memory compiles.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::PAGE_SIZE;
use granule::mm::alloc::{KBox, KVec};
use granule::mm::gfp::Gfp;
use granule::mm::vmalloc;
use granule::sync::{Rank, SpinLock};

pub static COUNT: SpinLock<u32> = SpinLock::new(Rank::Mempool, 0);

pub fn boxes() -> Option<u64> {
    let one = KBox::new(7u64, Gfp::GFP_KERNEL).ok()?;
    let mut many = KVec::new();
    many.push(*one, Gfp::GFP_KERNEL).ok()?;
    many.first().copied()
}

pub fn areas() -> bool {
    vmalloc::vmalloc(PAGE_SIZE, Gfp::GFP_KERNEL).is_some()
}
