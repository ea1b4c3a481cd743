//! Tests of the state that the boot leaves behind.

#![no_std]
#![no_main]

extern crate alloc;

mod harness;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use granule::addr::{Pfn, PhysRange};
use granule::arch::{cpu, image};
use granule::mm::page::Frame;
use granule::mm::page_alloc::zones;

static ZEROED: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];
static FILLED: [AtomicU64; 4] = [const { AtomicU64::new(0x5ca1_ab1e) }; 4];

kernel_tests! {
    fn bss_is_zero_and_data_is_filled() {
        assert!(ZEROED.iter().all(|word| word.swap(1, Relaxed) == 0));
        assert!(FILLED.iter().all(|word| word.load(Relaxed) == 0x5ca1_ab1e));
    }

    fn the_clocks_run() {
        let (cycles, ticks) = (cpu::cycles(), cpu::ticks());
        let mut waited = 0u64;
        while cpu::ticks() == ticks {
            waited += 1;
            assert!(waited < 1 << 30, "the counter stands still");
        }
        assert!(cpu::cycles() > cycles);
        assert!(cpu::tick_frequency() >= 1_000_000);
    }

    fn the_image_is_nobodys_memory() {
        // Its first page tables are: the final ones took their place.
        let tables = image::boot_tables();
        let given = |pfn: Pfn| {
            let tables = PhysRange::new(image::phys(tables.start()), image::phys(tables.end()));
            tables.contains(pfn.phys())
        };
        for pfn in image::all_phys().whole_pages().iter().filter(|&pfn| !given(pfn)) {
            if let Some(frame) = Frame::new(pfn) {
                assert_eq!(frame.page().refcount(), 0, "{frame:?} of the image was given out");
                assert!(frame.page().flags().is_empty(), "{frame:?} of the image is on a list");
            }
        }
    }

    fn zones_tile_the_ram() {
        let mut spans: Vec<_> =
            zones().map(|zone| (zone.spanned.start().get(), zone.spanned.end().get(), zone.present)).collect();
        spans.sort_unstable();
        assert!(!spans.is_empty());
        for pair in spans.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "zones overlap: {spans:x?}");
        }
        assert!(spans.iter().all(|&(start, end, present)| end - start >= present));
    }
}
