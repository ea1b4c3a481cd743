//! Memory by its address, freed after a grace period (Linux: kvfree_rcu, with a head in the
//! object and without).

use super::rcu_init;
use crate::mm::alloc::KBox;
use crate::mm::gfp::Gfp;
use crate::mm::util::kvfree;
use crate::sched::rcu::{RcuHead, call_rcu, synchronize_rcu};
use core::ptr::NonNull;

/// Frees what [`kvmalloc`](crate::mm::util::kvmalloc), `kmalloc`, `vmalloc` or their kin
/// returned, once a grace period has passed. `head` is a part of it, or of what is freed later
/// yet. Any context: it takes no memory (Linux: kvfree_rcu with two arguments).
///
/// # Safety
/// `ptr` came from there, and nobody begins to use it from here on; those who found it as
/// readers may still read it, but for `head`.
pub unsafe fn kvfree_rcu(ptr: NonNull<u8>, head: NonNull<RcuHead>) {
    unsafe fn free(ptr: *mut ()) {
        // SAFETY: all readers are done, so it is nobody's, as the caller of `kvfree_rcu` says.
        unsafe { kvfree(ptr.cast()) }
    }
    // SAFETY: the memory of which `head` is a part stays until it is freed.
    unsafe { call_rcu(head, free, ptr.as_ptr().cast()) };
    rcu_init();
}

/// Record of memory that has no head of its own.
struct Remembered {
    head: RcuHead,
    ptr: NonNull<u8>,
}

/// Like [`kvfree_rcu`], without a head. Allocates a little memory; if there is none it waits for
/// the grace period itself. Process context (Linux: kvfree_rcu_mightsleep).
///
/// # Safety
/// As for [`kvfree_rcu`].
pub unsafe fn kvfree_rcu_mightsleep(ptr: NonNull<u8>) {
    unsafe fn free(this: *mut ()) {
        // SAFETY: it was made by `into_raw` below, and is taken back once.
        let this = unsafe { KBox::from_raw(NonNull::new_unchecked(this.cast::<Remembered>())) };
        // SAFETY: all readers are done, as the caller says.
        unsafe { kvfree(this.ptr.as_ptr()) }
    }
    match KBox::new(Remembered { head: RcuHead::new(), ptr }, Gfp::GFP_NOWAIT) {
        Ok(remembered) => {
            let this = KBox::into_raw(remembered);
            // SAFETY: it is there until `free` has it back.
            unsafe {
                let head = NonNull::new_unchecked(&raw mut (*this.as_ptr()).head);
                call_rcu(head, free, this.as_ptr().cast());
            }
        }
        Err(_) => {
            synchronize_rcu();
            // SAFETY: all readers are done, as the caller says.
            unsafe { kvfree(ptr.as_ptr()) }
        }
    }
    rcu_init();
}
