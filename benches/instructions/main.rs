//! Instructions per operation, for `scripts/bench`: QEMU counts one cycle for each
//! instruction then, and every run is the same. On a real machine these are cycles.
//!
//! What is measured, and under which names, is what was measured of Linux, so that the
//! figures can stand side by side:
//!
//! - a `pair` allocates and frees one object in a loop;
//! - a `batch` allocates many, then frees them all, and is counted per operation;
//! - five rounds follow one that warms up, and the loop's own instructions are in each
//!   figure: `empty_loop` says how many.
//!
//! | word of the command line | what it does |
//! | --- | --- |
//! | `granule.bench=NAME` | runs that benchmark alone, between the calls that `scripts/bench --profile` looks for |
//! | `granule.bench=boot_NAME` | prints what the boot took, under that name |
//! | `granule.bench=metadata_NAME` | prints what of RAM is taken to manage it, under that name |
//! | `granule.bench=model` | reads memory so that the misses are known, for a test of the cache model |
//! | `granule.bench=scaling` | what several CPUs do in the time of one |

#![no_std]
#![no_main]

extern crate alloc;

mod cma;
mod dma;
mod harness;
mod metadata;
mod mm_struct;
mod model;
mod pages;
mod scale;
mod scaling;
mod slab;
mod thread;
mod vmalloc;

use granule::init::Boot;
use granule::kprintln;
use harness::Bench;

granule::kernel_main!(main);

/// Prints what the boot took until pages, slabs and vmalloc are up and all RAM can be used,
/// as the benchmark `name`.
fn boot_to_pages(name: &str, boot: &Boot) -> u8 {
    let Some(took) = boot.steps.until("CMA") else { return 1 };
    kprintln!(
        "{{\"bench\":\"{name}\",\"instructions_per_op\":{took},\"min\":{took},\"mean\":{took},\"ops\":1}}"
    );
    0
}

fn main(boot: &Boot) -> u8 {
    let only = boot.cmdline.granule("bench");
    if let Some(name) = only.filter(|name| name.starts_with("boot_")) {
        return boot_to_pages(name, boot);
    }
    if let Some(name) = only.filter(|name| name.starts_with("metadata_")) {
        return metadata::run(name);
    }
    if only == Some("model") {
        model::run(&Bench::new(None));
        return 0;
    }
    if only == Some("scaling") {
        return scaling::run();
    }
    if only.is_none() {
        for (step, took) in boot.steps.iter() {
            kprintln!("{{\"bench\":\"boot: {step}\",\"instructions_per_op\":{took}}}");
        }
        kprintln!("{{\"bench\":\"boot\",\"instructions_per_op\":{}}}", boot.steps.total());
    }
    let bench = Bench::new(only);
    bench.masked_pair("empty_loop", || ());
    pages::hold_small_blocks();
    pages::run(&bench);
    slab::run(&bench);
    vmalloc::run(&bench);
    cma::run(&bench);
    dma::run(&bench);
    mm_struct::run(&bench);
    thread::run(&bench);
    // Last: its areas stay.
    scale::run(&bench);
    0
}
