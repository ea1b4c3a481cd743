//! Address spaces with real tables, by their users (Linux: mmget, mmput, mm_alloc).

use super::{Layout, MmStruct};
#[cfg(target_os = "none")]
use crate::addr::UserAddr;
#[cfg(target_os = "none")]
use crate::arch::{
    IrqMasked,
    fault::{Access, Fault},
};
use crate::errno::Errno;
use crate::mm::alloc::KBox;
use crate::mm::gfp::Gfp;
use crate::mm::memory::UserTables;
use crate::mm::page::Mapping;
use crate::mm::shmem::{VmAccounting, register_accounting};
use crate::sched::{Mm, MmRef};
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

/// Address space of a process.
pub type UserMm = MmStruct<UserTables>;

crate::machine_local! {
    static LAST_ID: AtomicU32 = AtomicU32::new(0);
}

/// A user of an address space, as a process that runs in it. The last one unmaps everything; the
/// memory of the [`MmStruct`] itself goes with the last [`MmRef`] (Linux: mm_users, mm_count).
pub struct MmHandle(MmRef);

impl MmHandle {
    /// Creates an address space without areas, and its first user. Process context.
    ///
    /// # Errors
    /// `ENOMEM`
    pub fn new(layout: Layout) -> Result<Self, Errno> {
        let tables = UserTables::new(release)?;
        // Numbers of families are those of objects in descriptors, from 1 on.
        let id = 1 + LAST_ID.fetch_add(1, Ordering::Relaxed) % (Mapping::OBJECTS - 1);
        let mm = KBox::new(UserMm::new(tables, id, layout), Gfp::GFP_KERNEL)?;
        let mm = KBox::into_raw(mm);
        // SAFETY: it was just created, has its `Mm` first (`repr(C)` of it and of its tables), and stays
        // where it is until `release`.
        Ok(Self(unsafe { MmRef::new(mm.cast()) }))
    }

    /// A reference for a task that runs in it (Linux: mmgrab).
    #[must_use]
    pub fn mm_ref(&self) -> MmRef {
        self.0.clone()
    }
}

/// Frees an address space that nobody refers to any more.
///
/// # Safety
/// `mm` is the `Mm` of a [`UserMm`] that [`MmHandle::new`] created, and this was its last reference.
unsafe fn release(mm: NonNull<Mm>) {
    // SAFETY: it came from a box, and is given back once, as the caller says.
    drop(unsafe { KBox::from_raw(mm.cast::<UserMm>()) });
}

impl Deref for MmHandle {
    type Target = UserMm;
    #[inline]
    fn deref(&self) -> &UserMm {
        // SAFETY: the reference keeps it, and it was created as a `UserMm`.
        unsafe { self.0.as_ptr().cast().as_ref() }
    }
}

/// Linux: mmget
impl Clone for MmHandle {
    fn clone(&self) -> Self {
        self.mm_users.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

/// Linux: mmput
impl Drop for MmHandle {
    fn drop(&mut self) {
        if self.mm_users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.exit_mmap();
        }
    }
}

/// Calls `f` with the address space of the current task; `None` if it has none of a process.
#[cfg(target_os = "none")]
#[inline]
pub fn with_current<R>(f: impl FnOnce(&UserMm) -> R) -> Option<R> {
    let mm = crate::sched::current_mm()?;
    // SAFETY: the task has a reference, and gives it back by code of its own alone, which this is.
    if !unsafe { mm.as_ref() }.is_released_by(release) {
        return None;
    }
    // SAFETY: as above; what is released so is a `UserMm`.
    Some(f(unsafe { mm.cast::<UserMm>().as_ref() }))
}

#[cfg(target_os = "none")]
/// Makes an access of the current task possible (see [`Handler`](crate::arch::fault::Handler)).
fn handle(at: UserAddr, access: Access, _from_kernel: bool) -> Result<(), Fault> {
    with_current(|mm| mm.handle_fault(at, access)).unwrap_or(Err(Fault::MapErr))
}

#[cfg(target_os = "none")]
/// Makes an access of the current task possible with what is at hand (see [`FastHandler`](crate::arch::fault::FastHandler)).
fn handle_fast(at: UserAddr, access: Access, irq: &IrqMasked) -> bool {
    with_current(|mm| mm.try_handle_fault(at, access, irq)).unwrap_or(false)
}

/// Has faults at addresses of users resolved by their address spaces from now on, and pages of files
/// unmapped in them. At boot (Linux: arch/arm64/mm/fault.c).
pub fn init() {
    #[cfg(target_os = "none")]
    crate::arch::fault::set_handler(handle, handle_fast);
    register_accounting(&ACCOUNT);
}

/// Promises for shared memory.
struct Account;
static ACCOUNT: Account = Account;

impl VmAccounting for Account {
    fn charge(&self, pages: u64) -> Result<(), Errno> {
        super::vm_enough_memory(pages as i64, None, true)
    }
    fn uncharge(&self, pages: u64) {
        super::vm_acct_memory(-(pages as i64));
    }
}
