//! `granule.fragment[=SEED[,PERCENT]]`: memory as use leaves it.

use crate::firmware::cmdline::CommandLine;
use crate::workload::{self, DEFAULT_SEED, Fragmented};
use log::{info, warn};

/// The percentage of free memory where none is given.
const DEFAULT_PERCENT: u32 = 90;

/// Fragments memory if the command line asks for that; what is returned holds it so.
#[must_use]
pub fn asked_for(line: &CommandLine<'_>) -> Option<Fragmented> {
    let text = line.granule("fragment")?;
    let Some((seed, percent)) = parse(text) else {
        warn!("granule.fragment={text:?} ignored: expected SEED[,PERCENT], two numbers");
        return None;
    };
    info!("fragmenting {percent} % of free memory, seed {seed}");
    let aged = workload::fragment(seed, percent);
    match &aged {
        Ok(aged) => info!(
            "fragmented: {} movable pages, {} others, {} objects of slabs stay",
            aged.movable_pages(),
            aged.kernel_pages(),
            aged.slab_objects()
        ),
        Err(error) => warn!("granule.fragment: {error}"),
    }
    aged.ok()
}

fn parse(text: &str) -> Option<(u64, u32)> {
    if text.is_empty() {
        return Some((DEFAULT_SEED, DEFAULT_PERCENT));
    }
    let (seed, percent) = text.split_once(',').unwrap_or((text, ""));
    let percent = if percent.is_empty() { DEFAULT_PERCENT } else { percent.parse().ok()? };
    (1..=100).contains(&percent).then_some((seed.parse().ok()?, percent))
}
