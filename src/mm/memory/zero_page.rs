//! The shared zero page (Linux: empty_zero_page).

use crate::addr::PhysAddr;

/// Address of the page of zeros that reads of untouched memory find. It is no page of users': nobody
/// counts its mappings.
#[cfg(target_os = "none")]
#[inline(always)]
pub(super) fn zero_page() -> PhysAddr {
    crate::arch::zero_page()
}

/// The same; a hosted machine has none in its image, so that one is allocated.
#[cfg(not(target_os = "none"))]
pub(super) fn zero_page() -> PhysAddr {
    use crate::mm::gfp::Gfp;
    use crate::mm::page_alloc::OwnedPage;
    crate::machine_local! {
        static ZERO_PAGE: crate::sync::Once<PhysAddr> = crate::sync::Once::new();
    }
    *ZERO_PAGE.call_once(|| {
        let page = OwnedPage::alloc(Gfp::GFP_NOWAIT | Gfp::__GFP_ZERO | Gfp::__GFP_NOFAIL);
        page.expect("a machine has a page").into_raw().phys()
    })
}
