//! Steps of the boot that only translate: from the device tree to what the rooms want.

use super::fault;
use super::start::Stop;
use super::trace_file;
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::arch::aarch64::{clock, exception, fixmap, image};
use crate::drivers::console;
use crate::drivers::uart::Uart;
use crate::firmware::cmdline::{CommandLine, parse_size};
use crate::firmware::fdt::{Console, Text, Tree, total_size};
use crate::mm::debug;
use crate::mm::page_alloc::{FailPageAlloc, set_fail_page_alloc};
use crate::mm::slab::{self, FailSlab, SlabDebug};
use crate::mm::trace;
use log::{LevelFilter, info, warn};

/// Bytes of the largest header.
const HEADER: usize = 40;

/// Maps the device tree and checks it.
pub(super) fn device_tree(at: PhysAddr) -> Result<Tree<'static>, Stop> {
    let va = fixmap::map_fdt(at).ok_or(Stop::DeviceTreeAddress(at))?;
    let size = total_size(fdt_bytes(va, HEADER))?;
    Ok(Tree::new(fdt_bytes(va, size))?)
}

/// Bytes of the device tree's window.
fn fdt_bytes(va: VirtAddr, len: usize) -> &'static [u8] {
    // The tree is at most 2 MiB long (`MAX_SIZE`), so it ends in the window of 4 MiB.
    let ptr = core::ptr::with_exposed_provenance::<u8>(va.get());
    // SAFETY: mapped read-only by `map_fdt` for good; the boot protocol leaves the
    // tree alone after it was handed over.
    unsafe { core::slice::from_raw_parts(ptr, len) }
}

/// Makes the console of the device tree, or the semihosting host, the kernel's.
pub(super) fn console(tree: &Tree<'_>) {
    match tree.console() {
        Some(device) => match uart(&device) {
            Some(uart) => console::attach_uart(uart),
            None => warn!(
                "console: {} is none that this kernel drives, or is not there",
                device.node.name()
            ),
        },
        None => warn!("console: the device tree names none"),
    }
    console::attach_semihosting();
    if let Some(model) = tree.model() {
        info!("Machine model: {model}");
    }
}

fn uart(device: &Console<'_>) -> Option<Uart> {
    type Driver = unsafe fn(VirtAddr) -> Option<Uart>;
    let drivers: [(&str, Driver); 2] =
        [("arm,pl011", Uart::pl011), ("brcm,bcm2835-aux-uart", Uart::mini)];
    let (_, driver) = drivers.iter().find(|(compatible, _)| device.is(compatible))?;
    // SAFETY: the boot CPU is alone, and the console is looked for once: no other driver has the
    // slot. The registers are where the device tree has the console's.
    let base = unsafe { fixmap::map_console(device.registers.start()) };
    // SAFETY: the device tree says that such registers are there; the fixmap keeps
    // them mapped as device memory, and nothing else uses them.
    unsafe { driver(base) }
}

/// What may follow `granule.` on the command line: of the kernel, and of the
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
pub(super) fn command_line(tree: &Tree<'static>) -> CommandLine<'static> {
    let given = tree.bootargs().unwrap_or(Text::new(b""));
    let line = CommandLine::from_bytes(given.bytes());
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

/// Which tools that find bugs in memory the command line asks for.
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
    debug::kfence_init(clock::counter());
}

/// What the command line says of tracing.
pub(super) struct Tracing {
    events: Option<&'static str>,
    /// KiB of a CPU's ring.
    buffer: Option<usize>,
}

/// What the command line says of tracing (Linux: trace_event=, trace_buf_size=).
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

/// What the command line says of the slab allocator, before it is up.
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
