//! Numbers of files, by which the descriptors of their pages name them ([`Mapping`]).
#![deny(unsafe_code)]

use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::alloc::{AllocError, KVVec};
use crate::mm::gfp::Gfp;
use crate::mm::page::Mapping;
use crate::sync::{Rank, SpinLock};

/// The numbers in use are those below `next` but the free ones.
struct Numbers {
    next: u32,
    /// Has room for all numbers below `next`, so that giving one back needs no memory.
    free: KVVec<u32>,
}

machine_local! {
    static NUMBERS: SpinLock<Numbers> =
        SpinLock::new(Rank::PageCache, Numbers { next: 0, free: KVVec::new() });
}

/// A number that no other file has, given back when dropped.
pub(super) struct ObjectNumber(u32);

impl ObjectNumber {
    /// Takes a number. Context as `gfp` says.
    ///
    /// # Errors
    /// Memory is short, or all numbers are in use.
    pub fn new(gfp: Gfp) -> Result<Self, AllocError> {
        loop {
            let capacity = match with_masked(|irq| NUMBERS.lock(irq).take()) {
                Ok(number) => return Ok(Self(number)),
                Err(capacity) => capacity,
            };
            if capacity >= Mapping::OBJECTS as usize {
                return Err(AllocError);
            }
            let mut larger = KVVec::with_capacity((2 * capacity).max(64), gfp)?;
            with_masked(|irq| {
                let mut numbers = NUMBERS.lock(irq);
                if numbers.free.capacity() < larger.capacity() {
                    for number in numbers.free.iter() {
                        larger.push_within_capacity(*number).expect("it is larger");
                    }
                    core::mem::swap(&mut numbers.free, &mut larger);
                }
            });
        }
    }

    /// The number.
    pub const fn get(&self) -> u32 {
        self.0
    }
}

impl Numbers {
    /// A free number, or the capacity that is too small.
    fn take(&mut self) -> Result<u32, usize> {
        if let Some(number) = self.free.pop() {
            return Ok(number);
        }
        let capacity = self.free.capacity().min(Mapping::OBJECTS as usize);
        if self.next as usize >= capacity {
            return Err(capacity);
        }
        self.next += 1;
        Ok(self.next - 1)
    }
}

impl Drop for ObjectNumber {
    fn drop(&mut self) {
        // Dropped without the lock.
        let _unused = with_masked(|irq| {
            let mut numbers = NUMBERS.lock(irq);
            numbers.free.push_within_capacity(self.0).expect("there is room for all numbers");
            if numbers.free.len() < numbers.next as usize {
                return None;
            }
            numbers.next = 0;
            Some(core::mem::take(&mut numbers.free))
        });
    }
}
