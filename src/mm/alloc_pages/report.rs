//! Report of an allocation that failed (Linux: warn_alloc).
#![deny(unsafe_code)]

use super::slowpath::Request;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::zones;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

machine_local! {
    static FAILURES: AtomicU32 = AtomicU32::new(0);
}

/// Reports an allocation that failed: the first ten, then ever fewer.
#[cold]
#[inline(never)]
pub(super) fn warn_alloc(request: &Request) {
    let Request { gfp, order, .. } = *request;
    if gfp.contains(Gfp::__GFP_NOWARN) {
        return;
    }
    let n = FAILURES.fetch_add(1, Relaxed).wrapping_add(1);
    if n > 10 && !n.is_power_of_two() {
        return;
    }
    log::warn!(
        "page allocation failure: order:{order}, mode:{:#x}({}), zone:{}, migratetype:{} (failure {n})",
        gfp.bits(),
        Mode(gfp),
        request.highest,
        request.mt
    );
    for zone in zones() {
        log::warn!("{zone}");
    }
}

struct Mode(Gfp);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bitflags::parser::to_writer(&self.0, f)
    }
}
