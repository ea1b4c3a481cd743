//! Share of an aged memory that can be allocated as huge pages, with and without migratetypes
//! and compaction: `scripts/bench` boots it four times, with `granule.bench=with` and the words
//! `migratetypes` and `compaction`, as far as they are to be used, after commas.

#![no_std]
#![no_main]

extern crate alloc;

#[path = "../tests/harness/ageing.rs"]
mod ageing;

use ageing::{Fragmented, MOVABLE, With, census, give_back, take_all, zone};
use granule::addr::Order;
use granule::init::Boot;
use granule::kprintln;
use granule::mm::compaction::{ContigPageInfo, compact_stat};
use granule::workload::DEFAULT_SEED;

granule::kernel_main!(main);

/// `part` of `all` in percent, rounded down; 100 of nothing.
fn percent(part: u32, all: u32) -> u32 {
    (100 * part).checked_div(all).unwrap_or(100)
}

fn main(boot: &Boot) -> u8 {
    let words = boot.cmdline.granule("bench").unwrap_or("migratetypes,compaction");
    let has = |name| words.split(',').any(|word| word == name);
    let (migratetypes, compaction) = (has("migratetypes"), has("compaction"));
    let with = With { migratetypes, compaction, ..With::PAGES };
    let aged = Fragmented::new(DEFAULT_SEED, with).expect("memory for the lists");
    let order = Order::PAGEBLOCK;
    let before = census();
    let unusable = || ContigPageInfo::of(zone(), order).unusable_free_index();
    let unusable_before = unusable();
    let blocks = take_all(with.flags(MOVABLE), order);
    let got = blocks.len() as u32;
    aged.objects.check();
    give_back(blocks, order);
    kprintln!(
        "{{\"bench\":\"fragmentation\",\"migratetypes\":{},\"compaction\":{},\
         \"free_pages\":{},\"kernel_pages\":{},\"pageblocks\":{},\"pageblocks_movable\":{},\
         \"free_and_movable\":{},\"order9_blocks\":{got},\"order9_percent_of_free\":{},\
         \"order9_percent_of_free_and_movable\":{},\"unusable_free_index_before\":{},\
         \"unusable_free_index_after\":{},\"frames_scanned\":{},\"pages_moved\":{}}}",
        with.migratetypes,
        with.compaction,
        before.free,
        aged.kernel_pages(),
        before.pageblocks,
        before.emptiable,
        before.free_and_movable,
        percent(got * order.pages(), before.free),
        percent(got, before.free_and_movable / order.pages()).min(100),
        unusable_before,
        unusable(),
        compact_stat().scanned,
        compact_stat().moved,
    );
    0
}
