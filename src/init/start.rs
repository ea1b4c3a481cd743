//! `start_kernel`: from the first instruction in the high half to a running kernel.

use super::steps::Steps;
use super::{fault, interrupts, mm, numa, panic, secondary, setup};
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::pgtable::MapError;
use crate::arch::{self, exception, features, image};
use crate::drivers::console;
use crate::firmware::cmdline::CommandLine;
use crate::firmware::fdt::{FdtError, Tree};
use crate::fs;
use crate::mm::debug;
use crate::mm::memblock::MemblockError;
use crate::mm::memblock::scan::ScanError;
use crate::mm::mm_struct;
use crate::mm::page_alloc::InitError;
use crate::sched;
use core::fmt;
use log::{LevelFilter, error, info};

/// The exit code of a kernel that could not boot.
const EXIT_STOP: u8 = 1;

/// Results of the boot for the image's main function.
pub struct Boot {
    /// The device tree.
    pub tree: Tree<'static>,
    /// The kernel command line.
    pub cmdline: CommandLine<'static>,
    /// Time of each step of the boot.
    pub steps: Steps,
    /// The initrd, and whether its memory can be freed.
    pub(super) initrd: Option<(PhysRange, bool)>,
}

unsafe extern "Rust" {
    /// The image's main function, defined by `kernel_main!`.
    safe fn granule_main(boot: &Boot) -> u8;
}

/// head.S comes here with the MMU on, on the boot stack, with .bss cleared.
///
/// # Safety
/// For head.S alone, once.
#[unsafe(no_mangle)]
unsafe extern "C" fn start_kernel(dtb: u64, image: u64, entry_level: u64) -> ! {
    let mut steps = Steps::start();
    arch::init(PhysAddr::new(image));
    // SAFETY: the first thing in the boot; it only reports, and then ends the kernel.
    unsafe { exception::set_fatal_handler(panic::fatal_exception) };
    console::init();
    info!("Granule {} on {}", env!("CARGO_PKG_VERSION"), features::cpu_name());
    info!("entered at EL{entry_level}, image at {image:#x}, device tree at {dtb:#x}");
    steps.done("first instructions");

    match boot(PhysAddr::new(dtb), steps) {
        Ok(boot) => panic::end(granule_main(&boot)),
        Err(stop) => {
            console::attach_semihosting();
            // Whatever loglevel= says: without it nobody would know.
            log::set_max_level(log::max_level().max(LevelFilter::Error));
            error!("{stop}");
            if let Some(limit) = mm::mem_limit() {
                error!("{limit}: perhaps that is too little");
            }
            panic::end(EXIT_STOP)
        }
    }
}

/// The boot, in order.
fn boot(dtb: PhysAddr, mut steps: Steps) -> Result<Boot, Stop> {
    let early = setup::EarlyTree::map(dtb)?;
    let tree = early.tree()?;
    interrupts::clock_init(&tree);
    let own = [image::all_phys(), PhysRange::from_size(dtb, tree.total_size() as u64)];
    setup::console(&tree, &own);
    exception::unmask_serror();
    // It may be the last of the tree's nodes: looked for once.
    let chosen = tree.chosen();
    let cmdline = setup::command_line(chosen.as_ref());
    fs::set_cmdline(cmdline.as_str());
    fs::set_kallsyms(fault::kallsyms);
    steps.done("device tree");

    let info = mm::memblock_init(tree, dtb, cmdline)?;
    let traced = setup::tracing_params(&cmdline);
    setup::randomness(chosen.as_ref());
    steps.done("memblock");
    let tools = setup::debug(&cmdline);
    mm::paging_init(&tree)?;
    steps.done("paging_init");

    // From here to vmalloc: Linux's mm_core_init. docs/decisions/0010 has what differs.
    debug::page_ext_init_flatmem(&tools);
    setup::hardening(&tools);
    mm::mem_init(&info)?;
    numa::init(&tree);
    steps.done("page allocator");
    debug::kfence_alloc_pool(&tools);
    debug::stack_depot_early_init(&tools);
    debug::page_ext_init_flatmem_late(&tools);
    setup::slab(&cmdline);
    mm::kmem_cache_init()?;
    setup::tracing(&traced);
    steps.done("kmalloc");
    setup::kmemleak(&tools);
    debug::debug_objects_mem_init(&tools);
    mm::vmalloc_init();
    steps.done("vmalloc");
    setup::kfence();
    mm::cma_init(&info);
    steps.done("CMA");
    setup::fail_page_alloc(&cmdline);
    setup::failslab(&cmdline);
    mm_struct::init();
    setup::randomize_va_space(&cmdline);

    let interrupts = interrupts::init(&tree);
    secondary::fork_init();
    if interrupts.enabled {
        secondary::sched_init();
    }
    sched::check_sleep();
    steps.done("interrupts");
    secondary::bring_up(&tree, dtb, interrupts.redistributors);
    mm::start_threads();
    steps.done("other cores");
    let initrd = info.initrd.map(|initrd| (initrd, info.initrd_is_alone));
    drop(info);
    let tree = early.keep(&tree, chosen.as_ref())?;
    drop(early);
    if let Some(model) = tree.model() {
        fs::set_model(model);
    }
    mm::request_standard_resources(&tree);
    steps.done("resources");
    mm::check_wx();
    steps.done("W^X check");
    Ok(Boot { tree, cmdline, steps, initrd })
}

/// Reason why the kernel can't boot.
#[derive(Debug)]
pub enum Stop {
    /// The device tree is no device tree.
    DeviceTree(FdtError),
    /// The device tree is where none can be.
    DeviceTreeAddress(PhysAddr),
    /// The device tree is not in RAM, and there is no memory for a copy of so many bytes.
    DeviceTreeCopy(usize),
    /// There is no memory to be had.
    Scan(ScanError),
    /// memblock failed.
    Memblock(MemblockError),
    /// The final page tables could not be built.
    PageTables(MapError),
    /// The page allocator can't start.
    Zones(InitError),
}

impl From<FdtError> for Stop {
    fn from(error: FdtError) -> Self {
        Self::DeviceTree(error)
    }
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Scan(error)
    }
}

impl From<MemblockError> for Stop {
    fn from(error: MemblockError) -> Self {
        Self::Memblock(error)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot boot: ")?;
        match self {
            Self::DeviceTree(error) => error.fmt(f),
            Self::Scan(error) => error.fmt(f),
            Self::Memblock(error) => error.fmt(f),
            Self::PageTables(error) => write!(f, "page tables: {error}"),
            Self::Zones(error) => write!(f, "page allocator: {error}"),
            Self::DeviceTreeCopy(size) => {
                write!(f, "no memory for a copy of the device tree, {size} bytes")
            }
            Self::DeviceTreeAddress(at) => write!(
                f,
                "x0 = {at} is no address of a device tree (a multiple of 8 that the CPU reaches): \
                 boot the Image, not the ELF file"
            ),
        }
    }
}

impl core::error::Error for Stop {}
