//! Contiguous memory.

use crate::batch_names;
use crate::harness::Bench;
use core::hint::black_box;
use granule::addr::Order;
use granule::mm::cma::{cma_alloc, cma_release, default_area};

/// All of this file; nothing where there is no area.
pub fn run(bench: &Bench) {
    let Some(area) = default_area() else { return };
    for (pair, batch, count, order, ops, held) in [
        ("cma_1p_pair", batch_names!("cma_1p"), 1, 0, 100, 16),
        ("cma_256p_pair", batch_names!("cma_256p"), 256, 8, 100, 16),
        ("cma_4096p_pair", batch_names!("cma_4096p"), 4096, 10, 20, 3),
    ] {
        let Some(align) = Order::new(order) else { continue };
        let alloc = || black_box(cma_alloc(area, count, align));
        // SAFETY: allocated here, and nobody uses it any more.
        let free = |frame| assert!(unsafe { cma_release(area, frame, count) });
        bench.pair_of(pair, ops, || {
            if let Some(frame) = alloc() {
                free(frame);
            }
        });
        let mut slots = [const { None }; 16];
        bench.batch(batch, &mut slots[..held], alloc, free);
    }
}
