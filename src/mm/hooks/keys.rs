//! Static keys of the hooks.

use crate::arch::jump_label::{StaticKey, static_branch_unlikely};
use crate::machine_local;

machine_local! {
    /// Enabled while a tool has to be called for pages that are allocated and freed.
    pub(crate) static PAGE_HOOKS: StaticKey = StaticKey::new();
    /// Enabled while a tool has to be called for objects that are allocated.
    pub(crate) static SLAB_ALLOC_HOOKS: StaticKey = StaticKey::new();
    /// Enabled while a tool has to be called for objects that are freed.
    pub(crate) static SLAB_FREE_HOOKS: StaticKey = StaticKey::new();
    /// Enabled while any event is on that is neither of pages nor of objects.
    pub(crate) static RARE_EVENTS: StaticKey = StaticKey::new();
}

/// Returns true if a tool has to be called for a vmalloc area that was allocated: a `nop` if
/// not.
#[inline(always)]
pub(crate) fn are_areas_watched() -> bool {
    static_branch_unlikely!(SLAB_ALLOC_HOOKS)
}

/// Returns true if a tool has to be called for a vmalloc area that is about to be freed: a `nop`
/// if not.
#[inline(always)]
pub(crate) fn are_freed_areas_watched() -> bool {
    static_branch_unlikely!(SLAB_FREE_HOOKS)
}

/// Returns true if any trace event is on that is neither of pages nor of objects: a `nop` if
/// not.
#[inline(always)]
pub(crate) fn are_rare_events_on() -> bool {
    static_branch_unlikely!(RARE_EVENTS)
}
