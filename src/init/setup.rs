//! Steps of the boot that only translate: from the device tree to what the rooms want.

use super::fault;
use super::start::Stop;
use super::trace_file;
use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr, VirtRange};
use crate::arch::{exception, features, fixmap, image};
use crate::drivers::uart::{self, Uart};
use crate::drivers::{console, random};
use crate::firmware::cmdline::{COMMAND_LINE_SIZE, CommandLine, parse_size};
use crate::firmware::fdt::{Chosen, Console, MAX_SIZE, Text, Tree, total_size};
use crate::memremap::{MemremapFlags, memremap};
use crate::mm::alloc_pages::{FailPageAlloc, set_fail_page_alloc};
use crate::mm::debug;
use crate::mm::slab::{self, FailSlab, SlabDebug};
use crate::mm::util::set_randomize_va_space;
use crate::sync::Once;
use crate::trace;
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use log::{LevelFilter, debug, info, warn};

/// Bytes of the largest header.
const HEADER: usize = 40;

const _: () = assert!(MAX_SIZE == fixmap::MAX_FDT_SIZE);

/// The device tree in the fixmap's window, which is gone when this is dropped.
pub(super) struct EarlyTree {
    at: PhysAddr,
    va: VirtAddr,
    size: usize,
}

impl EarlyTree {
    /// Maps the device tree, its header first to learn how long it is.
    pub(super) fn map(at: PhysAddr) -> Result<Self, Stop> {
        let map = |size| fixmap::map_fdt(at, size).ok_or(Stop::DeviceTreeAddress(at));
        let mut tree = Self { at, va: map(HEADER)?, size: HEADER };
        tree.size = total_size(tree.bytes())?;
        map(tree.size)?;
        Ok(tree)
    }

    fn bytes(&self) -> &[u8] {
        let ptr = core::ptr::with_exposed_provenance::<u8>(self.va.get());
        // SAFETY: mapped read-only by `map_fdt` until this is dropped; the boot protocol
        // leaves the tree alone after it was handed over.
        unsafe { core::slice::from_raw_parts(ptr, self.size) }
    }

    /// Checks the tree.
    pub(super) fn tree(&self) -> Result<Tree<'_>, Stop> {
        Ok(Tree::new(self.bytes())?)
    }

    /// The same tree where it stays: at its address in the linear map, or in a copy where it
    /// lies in no RAM that is mapped. The seeds that it holds are erased: they have served
    /// (Linux: early_init_dt_scan_chosen). Needs kmalloc and vmalloc.
    pub(super) fn keep(
        &self,
        tree: &Tree<'_>,
        chosen: Option<&Chosen<'_>>,
    ) -> Result<Tree<'static>, Stop> {
        let mapped = memremap(self.at, self.size as u64, MemremapFlags::MEMREMAP_WB);
        let blob: &'static mut [u8] = match mapped {
            Ok(memory) => {
                let ptr = core::ptr::with_exposed_provenance_mut::<u8>(memory.virt().get());
                core::mem::forget(memory);
                // SAFETY: mapped for good, reserved in memblock, and nobody else's from here on:
                // whoever read it did so through the window.
                unsafe { core::slice::from_raw_parts_mut(ptr, self.size) }
            }
            Err(_) => {
                let mut copy = Vec::new();
                copy.try_reserve_exact(self.size).map_err(|_| Stop::DeviceTreeCopy(self.size))?;
                copy.extend_from_slice(self.bytes());
                copy.leak()
            }
        };
        let start = self.bytes().as_ptr().addr();
        for seed in chosen.into_iter().flat_map(Chosen::seeds) {
            let at = seed.as_ptr().addr() - start;
            blob[at..at + seed.len()].fill(0);
        }
        Ok(tree.moved(blob)?)
    }
}

impl Drop for EarlyTree {
    fn drop(&mut self) {
        // SAFETY: what was borrowed of it is gone.
        unsafe { fixmap::unmap_fdt() }
    }
}

/// Feeds what the boot loader left for that, and what the CPU has, to the random number
/// generator (Linux: random_init_early).
pub(super) fn randomness(chosen: Option<&Chosen<'_>>) {
    let seeds = chosen.into_iter().flat_map(Chosen::seeds);
    let from_loader = seeds.map(random::add_bootloader_randomness).count();
    let from_cpu = random::add_cpu_randomness();
    if from_loader == 0 && !from_cpu {
        debug!("random: seeded by the time alone: the device tree and the CPU give nothing");
    }
}

/// Makes the console of the device tree, or the semihosting host, the kernel's. `own` is what
/// the kernel itself lies on.
pub(super) fn console(tree: &Tree<'_>, own: &[PhysRange]) {
    match tree.console() {
        Some(device) => match uart(tree, &device, own) {
            Ok(uart) => console::attach_uart(uart),
            Err(why) => warn!("console: {}: {why}", device.node.name()),
        },
        None => warn!("console: the device tree names none"),
    }
    console::attach_semihosting();
    if let Some(model) = tree.model() {
        info!("Machine model: {model}");
    }
}

fn uart(tree: &Tree<'_>, device: &Console<'_>, own: &[PhysRange]) -> Result<Uart, &'static str> {
    let kind = uart::DRIVERS.iter().find(|kind| device.is(kind.compatible()));
    let kind = kind.ok_or("none that this kernel drives")?;
    let reach = PhysAddr::new(1 << features::physical_address_bits());
    let registers = device.usable_registers(tree, kind.bytes(), reach, own)?;
    // SAFETY: the boot CPU is alone, and the console is looked for once: no other driver has the
    // slot. The registers are where the device tree has the console's, and no RAM.
    let base = unsafe { fixmap::map_console(registers) }.ok_or("its registers span pages")?;
    // A primecell says what it is, unless the tree knows better.
    let is_marked = registers.len() >= PAGE_SIZE as u64;
    let identify = is_marked && !device.node.has("arm,primecell-periphid");
    // SAFETY: the device tree says that such registers are there; the fixmap keeps
    // them mapped as device memory, and nothing else uses them.
    unsafe { kind.probe(base, identify) }.ok_or("not there, or not enabled by the firmware")
}

/// Parameters that may follow `granule.` on the command line: the kernel's, and those of the
/// images of tests and benchmarks.
const OWN_PARAMETERS: [&str; 14] = [
    "bench",
    "fail_page_alloc",
    "fault",
    "fragment",
    "list",
    "monitor",
    "report",
    "snapshot",
    "test",
    "test_after",
    "node_sizes",
    "cpu_nodes",
    "node_order",
    "trace_file",
];

/// The command line, as far as it is text. What it says of the log holds from here on.
pub(super) fn command_line(chosen: Option<&Chosen<'_>>) -> CommandLine<'static> {
    static LINE: Once<ArrayVec<u8, COMMAND_LINE_SIZE>> = Once::new();
    let given = chosen.and_then(Chosen::bootargs).unwrap_or(Text::new(b""));
    // The tree moves; what is kept of it is copied.
    let line = LINE.call_once(|| {
        let mut line = ArrayVec::new();
        let bytes = &given.bytes()[..given.bytes().len().min(COMMAND_LINE_SIZE)];
        let _ = line.try_extend_from_slice(bytes);
        line
    });
    let line = CommandLine::from_bytes(line);
    let text = line.as_str();
    let level = line.loglevel();
    if let Ok(Some(level)) = level {
        log::set_max_level(level_filter(level));
    }
    info!("Kernel command line: {text}");
    if let Err(error) = level {
        warn!("{error}");
    }
    if text.len() < given.bytes().len() {
        warn!("Kernel command line: cut at byte {}: too long, or no UTF-8", text.len());
    }
    for param in line.granule_params() {
        if !OWN_PARAMETERS.iter().any(|known| param.is(known)) {
            warn!(
                "granule.{} ignored: there is no such parameter",
                Text::new(param.key.as_bytes())
            );
        }
    }
    line
}

/// Parses the options of the memory debugging tools.
pub(super) fn debug(line: &CommandLine<'_>) -> debug::Options {
    debug::report::set_symbolizer(fault::symbolize_call);
    debug::early_params(line, &mut |why| warn!("{why}"))
}

/// Switches on what hardens the page allocator, and says so (Linux: report_meminit).
pub(super) fn hardening(tools: &debug::Options) {
    debug::mem_debugging_and_hardening_init(tools, &mut |why| warn!("{why}"));
    info!("{}", debug::mem_auto_init());
}

/// Lets kmemleak watch, and tells it where addresses are kept (Linux: kmemleak_init).
pub(super) fn kmemleak(tools: &debug::Options) {
    let (data, stack) = (image::data(), image::boot_stack());
    let (tables, guard) = (image::boot_tables(), image::boot_stack_guard());
    // All of the image's data, but for what was given back, and with the stack by itself.
    for (start, end) in [
        (data.start(), tables.start()),
        (tables.end(), guard.start()),
        (stack.start(), stack.end()),
        (stack.end(), data.end()),
    ] {
        debug::add_root(VirtRange::new(start, end));
    }
    debug::kmemleak_init(tools);
}

/// Lets KFENCE take samples from here on.
pub(super) fn kfence() {
    // SAFETY: once, at boot; it resolves faults of KFENCE's pages alone, which it maps.
    unsafe { exception::set_fault_handler(fault::resolve) };
    debug::kfence_init(random::get_random_u64());
}

/// Tracing options of the command line.
pub(super) struct Tracing {
    events: Option<&'static str>,
    /// KiB of a CPU's ring.
    buffer: Option<usize>,
}

/// Parses the tracing options of the command line (Linux: trace_event=, trace_buf_size=).
pub(super) fn tracing_params(line: &CommandLine<'static>) -> Tracing {
    let mut tracing = Tracing { events: None, buffer: None };
    for param in line.params() {
        let value = param.value.unwrap_or("");
        if param.is("trace_event") {
            tracing.events = Some(value);
        } else if param.is("granule.trace_file") {
            trace_file::set_path(value);
        } else if param.is("trace_buf_size") {
            tracing.buffer = parse_size(value).and_then(|n| usize::try_from(n.div_ceil(1024)).ok());
            if tracing.buffer.is_none() {
                warn!("trace_buf_size={value:?} ignored: expected a size such as 512K");
            }
        }
    }
    tracing
}

/// Switches on the events that the command line asks for, as soon as there is memory for their
/// records.
pub(super) fn tracing(params: &Tracing) {
    if let Some(kb) = params.buffer
        && let Err(why) = trace::set_buffer_size_kb(kb)
    {
        warn!("trace_buf_size: {kb} KiB: {why}");
    }
    if let Some(events) = params.events
        && let Err(why) = trace::set_event_names(events)
    {
        warn!("trace_event={events:?} ignored: {why}");
    }
}

/// Parses the slab allocator's options, before it is up.
pub(super) fn slab(line: &CommandLine<'static>) {
    let mut debug = None;
    for param in line.params() {
        let value = param.value.unwrap_or("");
        if param.is("slab_debug") || param.is("slub_debug") {
            match SlabDebug::parse(value) {
                Ok(value) => debug = Some(value),
                Err(letter) => warn!(
                    "slab_debug={value:?} ignored: there is no option {letter:?}; there are F, Z, P, U, T, A, O and -"
                ),
            }
        } else if param.is("slab_nomerge") || param.is("slub_nomerge") {
            slab::set_slab_nomerge();
        } else if param.is("slab_freelist_random") {
            match value {
                "" | "1" | "y" | "on" => slab::set_freelist_random(true),
                "0" | "n" | "off" => slab::set_freelist_random(false),
                _ => warn!("slab_freelist_random={value:?} ignored: expected 0 or 1"),
            }
        }
    }
    if let Some(debug) = debug {
        slab::set_slab_debug(debug);
    }
}

/// Has programs begin at the same addresses each time, if the command line says `norandmaps` (Linux:
/// mm/memory.c).
pub(super) fn randomize_va_space(cmdline: &CommandLine<'_>) {
    if cmdline.has("norandmaps") {
        set_randomize_va_space(0);
    }
}

/// Lets slab allocations fail from here on, if the command line asks for that (Linux:
/// failslab=).
pub(super) fn failslab(line: &CommandLine<'_>) {
    let Some(param) = line.params().filter(|param| param.is("failslab")).last() else { return };
    let text = param.value.unwrap_or("");
    match FailSlab::parse(text) {
        Some(which) => {
            info!("slab allocations fail on purpose: {which:?}");
            let _ = slab::set_failslab(Some(which));
        }
        None => warn!("failslab={text:?} ignored: expected interval,probability,space,times"),
    }
}

/// Lets page allocations fail from here on, if the command line asks for that (Linux:
/// fail_page_alloc=).
pub(super) fn fail_page_alloc(line: &CommandLine<'_>) {
    let Some(text) = line.granule("fail_page_alloc") else { return };
    match FailPageAlloc::parse(text) {
        Some(which) => {
            info!("page allocations fail on purpose: {which:?}");
            let _ = set_fail_page_alloc(Some(which));
        }
        None => warn!(
            "granule.fail_page_alloc={text:?} ignored: expected interval[,times[,skip[,order]]]"
        ),
    }
}

/// The messages that are printed at a console's log level: those of a lower number, as
/// Linux numbers them.
fn level_filter(level: u8) -> LevelFilter {
    match level {
        0..=3 => LevelFilter::Off,
        4 => LevelFilter::Error,
        // There is no "notice" of its own.
        5 | 6 => LevelFilter::Warn,
        7 => LevelFilter::Info,
        _ => LevelFilter::Trace,
    }
}
