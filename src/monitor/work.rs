//! Work for the allocators: an aged memory, compaction, and random allocations.
#![deny(unsafe_code)]

use super::held::Object;
use super::screen::Screen;
use crate::addr::Order;
use crate::arch::CpuId;
use crate::arch::{cpu, smp};
use crate::init::secondary;
use crate::mm::compaction::{ContigPageInfo, compact_zone};
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::{self, nr_used_pages};
use crate::mm::validate;
use crate::mm::{cma, debug, slab, vmalloc};
use crate::prandom::Random;
use crate::sched;
use crate::user::init;
use crate::user::process::signal::Exit;
use crate::workload::{self, Fragmented};
use arrayvec::ArrayVec;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Percent of free memory that is aged.
const AGED: u32 = 90;

/// State that the work commands leave behind.
pub(super) struct Work {
    aged: Option<Fragmented>,
}

/// Prints how fragmented each zone's free memory is.
fn scattered(out: &mut Screen) -> fmt::Result {
    for zone in page_alloc::zones() {
        let info = ContigPageInfo::of(zone.id, Order::PAGEBLOCK);
        writeln!(
            out,
            "  Node {}, zone {:>8}: {} pages free, {} pageblocks, {} % of it scattered",
            zone.id.node().index(),
            zone.id.kind(),
            info.free_pages,
            info.suitable,
            info.extfrag()
        )?;
    }
    Ok(())
}

impl Work {
    pub const fn new() -> Self {
        Self { aged: None }
    }

    /// Ages memory, and keeps it so.
    pub fn fragment(&mut self, out: &mut Screen) -> fmt::Result {
        if self.aged.is_some() {
            return writeln!(out, "fragment: memory is aged already; 'fragment free' lets it go");
        }
        writeln!(out, "ageing {AGED} % of free memory")?;
        match workload::fragment(workload::DEFAULT_SEED, AGED) {
            Ok(aged) => {
                let aged = self.aged.insert(aged);
                writeln!(
                    out,
                    "{} movable pages, {} others and {} objects of slabs stay",
                    aged.movable_pages(),
                    aged.kernel_pages(),
                    aged.slab_objects()
                )?;
                scattered(out)
            }
            Err(why) => writeln!(out, "fragment: {why}"),
        }
    }

    /// Lets aged memory go.
    pub fn release(&mut self, out: &mut Screen) -> fmt::Result {
        match self.aged.take() {
            Some(aged) => {
                drop(aged);
                settle();
                scattered(out)
            }
            None => writeln!(out, "fragment: memory is not aged"),
        }
    }

    /// Compacts each zone.
    pub fn compact(&self, out: &mut Screen) -> fmt::Result {
        scattered(out)?;
        for zone in page_alloc::zones() {
            writeln!(out, "{}: {} pages moved", zone.id, compact_zone(zone.id))?;
        }
        page_alloc::drain_all_pages();
        scattered(out)
    }

    /// Makes `count` random allocations, checks what is in them, frees them, and has the
    /// allocators check themselves.
    pub fn stress(&self, count: u32, seed: u64, out: &mut Screen) -> fmt::Result {
        settle();
        let before = pages_in_use();
        let mut random = Random::new(seed);
        let mut stress = Stress { live: [const { None }; LIVE], done: [0; KINDS], refused: 0 };
        let mut ended = 0;
        for n in 0..count {
            stress.step(&mut random, n);
            ended = n + 1;
            if n % 64 == 63 && out.pause().is_err() {
                break;
            }
        }
        stress.live.iter_mut().for_each(Live::end);
        settle();
        validate();
        let [pages, kmalloc, vmalloc, cma] = stress.done;
        // Whoever stopped it wants to know as well.
        crate::kprintln!(
            "{ended} steps, seed {seed}: {pages} of pages, {kmalloc} of kmalloc, {vmalloc} of vmalloc, \
             {cma} of CMA, {} refused",
            stress.refused
        );
        crate::kprintln!(
            "all were as written; the allocators are valid; {before} pages used before, {} after",
            pages_in_use()
        );
        out.pause()
    }
}

/// Objects that are alive at a time.
const LIVE: usize = 64;
/// Kinds of objects.
const KINDS: usize = 4;

/// An object, and what was written to it.
struct Live {
    object: Object,
    stamp: u64,
}

impl Live {
    /// Checks and frees what is in a slot.
    fn end(slot: &mut Option<Self>) {
        if let Some(Self { object, stamp }) = slot.take() {
            assert!(object.is_stamped(stamp), "stress: {object} was overwritten");
            object.free();
        }
    }
}

struct Stress {
    live: [Option<Live>; LIVE],
    done: [u32; KINDS],
    refused: u32,
}

impl Stress {
    /// Fills a slot, or empties it.
    fn step(&mut self, random: &mut Random, n: u32) {
        let slot = &mut self.live[random.below(LIVE)];
        if slot.is_some() {
            return Live::end(slot);
        }
        let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_NOWARN;
        let kind = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 3][random.below(13)];
        let object = match kind {
            0 => {
                let order = [0, 0, 0, 1, 2, 3, 4, 9][random.below(8)];
                let gfp = if random.below(3) == 0 { gfp | Gfp::__GFP_MOVABLE } else { gfp };
                Order::new(order).and_then(|order| Object::pages(order, gfp))
            }
            1 => Object::kmalloc(1 << random.below(15) | random.below(8), gfp),
            2 => Object::vmalloc(1 + random.below(256 << 10)),
            _ => {
                cma::default_area().and_then(|area| Object::cma(area, 1 + random.below(64) as u32))
            }
        };
        match object {
            Some(object) => {
                let stamp = u64::from(n) << 32 | random.below(1 << 30) as u64;
                object.stamp(stamp);
                *slot = Some(Live { object, stamp });
                self.done[kind] += 1;
            }
            None => self.refused += 1,
        }
    }
}

/// Pages in use, but for what tools note of memory: of sections that come up there is more of
/// that (page_ext).
fn pages_in_use() -> u32 {
    nr_used_pages() - debug::metadata_pages()
}

/// Has all that is kept for the next allocations given back.
fn settle() {
    slab::shrink_all();
    vmalloc::shrink();
    page_alloc::drain_all_pages();
}

/// Checks every invariant of the allocators, while the other CPUs stand still.
///
/// # Panics
/// Where one does not hold.
fn validate() {
    static ARRIVED: AtomicUsize = AtomicUsize::new(0);
    static DONE: AtomicBool = AtomicBool::new(false);
    ARRIVED.store(0, Ordering::Relaxed);
    DONE.store(false, Ordering::Relaxed);
    secondary::on_each(|cpu| {
        if cpu != CpuId::BOOT {
            ARRIVED.fetch_add(1, Ordering::Release);
            while !DONE.load(Ordering::Acquire) {
                cpu::relax();
            }
            return;
        }
        while ARRIVED.load(Ordering::Acquire) + 1 < smp::online().count() {
            if !sched::cond_resched() {
                cpu::relax();
            }
        }
        if let Err(invalid) = validate::validate() {
            panic!("stress: {invalid}");
        }
        slab::validate();
        vmalloc::validate();
        DONE.store(true, Ordering::Release);
    });
}

/// Words of a program's command.
const WORDS: usize = 32;

/// `run`: a program to its end, with the console as its input and output.
pub fn run(words: &str, out: &mut Screen) -> fmt::Result {
    let words = words.split_ascii_whitespace().map(str::as_bytes);
    let argv: ArrayVec<&[u8], WORDS> = words.clone().take(WORDS).collect();
    if words.count() > WORDS {
        return writeln!(out, "run: more than {WORDS} words");
    }
    match init::start(&argv, None) {
        Ok(child) => match child.wait() {
            Exit::Code(0) => Ok(()),
            exit => writeln!(out, "{exit}"),
        },
        Err(errno) => writeln!(out, "run: {}: {errno:?}", argv[0].escape_ascii()),
    }
}
