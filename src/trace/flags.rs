//! Names of GFP flags, those of combinations first, so that as few as can be are printed
//! (Linux: __def_gfpflag_names of include/trace/events/mmflags.h).

use crate::mm::gfp::Gfp;

macro_rules! names {
    ($($name:ident)*) => { &[$((Gfp::$name.bits() as u64, stringify!($name))),*] };
}

/// Each value with its name; what a name stands for is not looked for again.
pub(super) const GFP_NAMES: &[(u64, &str)] = names! {
    GFP_TRANSHUGE GFP_TRANSHUGE_LIGHT GFP_HIGHUSER_MOVABLE GFP_HIGHUSER GFP_USER
    GFP_KERNEL_ACCOUNT GFP_KERNEL GFP_NOFS GFP_ATOMIC GFP_NOIO GFP_NOWAIT GFP_DMA
    __GFP_HIGHMEM GFP_DMA32 __GFP_HIGH __GFP_IO __GFP_FS __GFP_NOWARN __GFP_RETRY_MAYFAIL
    __GFP_NOFAIL __GFP_NORETRY __GFP_COMP __GFP_ZERO __GFP_NOMEMALLOC __GFP_MEMALLOC
    __GFP_HARDWALL __GFP_THISNODE __GFP_RECLAIMABLE __GFP_MOVABLE __GFP_ACCOUNT __GFP_RECLAIM
    __GFP_DIRECT_RECLAIM __GFP_KSWAPD_RECLAIM
};
