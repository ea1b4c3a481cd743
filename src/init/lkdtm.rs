//! Faults on demand (Linux: drivers/misc/lkdtm/): `granule.fault=NAME` on the command line breaks
//! a rule of memory at the end of boot, to see that it is caught and how the report reads.

use super::{panic, secondary};
use crate::addr::{PAGE_SIZE, PMD_SIZE, PhysAddr, VirtAddr};
use crate::arch::irq::with_masked;
use crate::arch::pgtable::explain::{Start, Walk};
use crate::arch::pgtable::{Descriptor, Level};
use crate::arch::{CpuId, cpu, mmu, phys_to_virt};
use crate::arch::{cpu as arch_cpu, exception, image, probe, smp};
use crate::drivers::console;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::OwnedPage;
use crate::mm::{kthread, vmalloc};
use crate::sched;
use crate::sync::{Rank, SleepRank, SpinLock};
use core::hint::black_box;
use core::ptr::with_exposed_provenance_mut;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Faults that can be caused: name, description and function.
const FAULTS: &[(&str, &str, fn())] = &[
    ("null", "read through a null pointer", null),
    ("wx", "write to the kernel's text", wx),
    ("exec", "execute data", exec),
    ("stack", "overflow the stack", stack),
    ("guard", "write past the end of a vmalloc area", guard),
    ("table", "write through a page table entry that leads nowhere", table),
    ("kthread", "overflow the stack of a kernel thread", kthread),
    ("atomic", "yield the CPU with interrupts masked", atomic),
    ("sleep_locked", "take a mutex under a spin lock", sleep_locked),
    ("relock", "take a lock that this CPU holds", relock),
    ("free_page", "write to a free page (with debug_pagealloc=on)", free_page),
    ("all", "read through a null pointer on all CPUs at once", all),
    ("slab_overflow", "write past the end of an object", slab::overflow),
    ("slab_underflow", "write before the start of an object", slab::underflow),
    ("slab_use_after_free", "write to an object that was freed", slab::use_after_free),
    ("slab_double_free", "free an object twice", slab::double_free),
    ("slab_invalid_free", "free the middle of an object", slab::invalid_free),
    ("console", "panic while a CPU that is dead holds the console's lock", console),
    ("console_fault", "read through a null pointer with the console's lock held", console_fault),
    ("overflow_twice", "overflow the stack, and the emergency stack too", overflow_twice),
    ("overflow_registers", "take an exception below the stack with known registers", registers),
    ("panic", "panic", || panic!("granule.fault=panic")),
];

/// Names of the faults, each with a description.
pub fn faults() -> impl Iterator<Item = (&'static str, &'static str)> {
    FAULTS.iter().map(|(name, what, _)| (*name, *what))
}

/// Token of the right to break a rule of memory, which ends the kernel.
pub struct Lkdtm(());

impl Lkdtm {
    /// Creates the token, for code that acts for the user of the machine.
    ///
    /// # Safety
    /// Faults are caused only where the user of the machine asked for one by its name: each of
    /// them is undefined behaviour, which the MMU or an allocator's checks are to catch.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(())
    }

    /// Causes the fault called `name`, and does not return then. Returns false if there is none of
    /// that name (Linux: lkdtm_do_action).
    pub fn do_action(&self, name: &str) -> bool {
        let Some((name, what, fault)) = FAULTS.iter().find(|f| f.0 == name) else { return false };
        log::warn!("granule.fault={name}: about to {what}");
        fault();
        panic!("granule.fault={name}: nothing caught it");
    }
}

#[inline(never)]
fn null() {
    // SAFETY: not sound, and meant so: the page at zero is never mapped, so it faults.
    let value = unsafe { black_box(core::ptr::null::<u64>()).read_volatile() };
    black_box(value);
}

#[inline(never)]
fn wx() {
    let target = image::text().start();
    // SAFETY: not sound, and meant so: text is mapped read-only, so it faults.
    unsafe { with_exposed_provenance_mut::<u32>(target.get()).write_volatile(0) }
}

#[inline(never)]
fn exec() {
    static DATA: [core::sync::atomic::AtomicU32; 1] =
        [core::sync::atomic::AtomicU32::new(0xd65f_03c0)]; // ret
    // SAFETY: not sound, and meant so: data is mapped execute-never, so it faults.
    let code: fn() = unsafe { core::mem::transmute(black_box(&raw const DATA)) };
    code();
}

#[inline(never)]
fn stack() {
    #[expect(unconditional_recursion, reason = "overflowing the stack is the point")]
    #[inline(never)]
    fn deeper(depth: u64) -> u64 {
        let frame = black_box([depth; 32]);
        deeper(depth + 1) + frame[(depth % 32) as usize]
    }
    black_box(deeper(0));
}

#[inline(never)]
fn guard() {
    let area = vmalloc::vmalloc(3 * PAGE_SIZE, Gfp::GFP_KERNEL);
    let Some(area) = area else { panic!("granule.fault=guard: vmalloc failed") };
    let beyond: VirtAddr = area + 3 * PAGE_SIZE;
    // SAFETY: not sound, and meant so: a guard page follows each area, so it faults.
    unsafe { with_exposed_provenance_mut::<u64>(beyond.get()).write_volatile(1) }
}

#[inline(never)]
fn free_page() {
    let page = OwnedPage::alloc(Gfp::GFP_KERNEL);
    let Some(page) = page else { panic!("granule.fault=free_page: no memory") };
    let frame = page.frame();
    drop(page);
    // SAFETY: not sound, and meant so: with debug_pagealloc=on nothing is mapped there.
    unsafe { with_exposed_provenance_mut::<u64>(frame.virt().get()).write_volatile(1) }
}

/// Address without RAM on any machine that this runs on, within the 40 bits of the smallest
/// CPUs.
const NOWHERE: PhysAddr = PhysAddr::new(0x7f_ffff_f000);

#[inline(never)]
fn table() {
    // All that one entry of a PMD spans, so that nobody else's addresses depend on it.
    let Some(area) = vmalloc::vmalloc_aligned(PMD_SIZE, PMD_SIZE, Gfp::GFP_KERNEL) else {
        panic!("granule.fault=table: vmalloc failed")
    };
    let Start::Pgd(_, pgd) = probe::bases().start(area) else { return };
    let entry = with_masked(|irq| {
        Walk::new(pgd, area, |at| probe::read_phys(at, irq)).find(|step| step.level == Level::Pmd)
    });
    let Some(entry) = entry else { panic!("granule.fault=table: the area has no PMD") };
    let word = with_exposed_provenance_mut::<u64>(phys_to_virt(entry.at).get());
    // SAFETY: not sound, and meant so: the table of a whole area goes, and the access faults.
    unsafe { word.write_volatile(Descriptor::table(NOWHERE).bits()) };
    mmu::dsb_ishst();
    mmu::tlbi_vmalle1is();
    mmu::dsb_ish();
    mmu::isb();
    // SAFETY: as above.
    unsafe { with_exposed_provenance_mut::<u64>(area.get()).write_volatile(1) }
}

#[inline(never)]
fn kthread() {
    let last = smp::online().last().unwrap_or(CpuId::BOOT);
    let thread = kthread::kthread_create_on_cpu("overflowing", last, || {
        stack();
        0
    });
    match thread {
        Ok(thread) => {
            thread.wake_up();
            thread.join();
        }
        Err(why) => panic!("granule.fault=kthread: {why}"),
    }
}

#[inline(never)]
fn atomic() {
    with_masked(|_| sched::schedule());
}

static LOCK: SpinLock<()> = SpinLock::new(Rank::Zone, ());

#[inline(never)]
fn sleep_locked() {
    let mutex = sched::Mutex::new(SleepRank::Cma);
    with_masked(|irq| {
        let _zone = LOCK.lock(irq);
        drop(mutex.lock());
    });
}

#[inline(never)]
fn relock() {
    with_masked(|irq| {
        let _first = LOCK.lock(irq);
        let _second = LOCK.lock(irq);
    });
}

/// All CPUs fault whatever the others do: none can be stopped before.
#[inline(never)]
fn all() {
    static ARRIVED: AtomicUsize = AtomicUsize::new(0);
    secondary::on_each(|_| {
        with_masked(|_| {
            ARRIVED.fetch_add(1, Relaxed);
            while ARRIVED.load(Relaxed) < smp::online().count() {
                cpu::relax();
            }
            null();
        });
    });
}

#[inline(never)]
fn console() {
    static HELD: AtomicUsize = AtomicUsize::new(0);
    let last = smp::online().last().unwrap_or(CpuId::BOOT);
    let dead = kthread::kthread_create_on_cpu("dead", last, || {
        console::with_lock(|| {
            HELD.store(1, Relaxed);
            arch_cpu::park();
        });
        0
    });
    match dead {
        Ok(dead) if last != CpuId::BOOT => {
            dead.wake_up();
            while HELD.load(Relaxed) == 0 {
                cpu::relax();
            }
            panic!("granule.fault=console");
        }
        Ok(_) => panic!("granule.fault=console: one CPU alone can't wait for another"),
        Err(why) => panic!("granule.fault=console: {why}"),
    }
}

#[inline(never)]
fn console_fault() {
    console::with_lock(null);
}

/// The first overflow is not reported, but goes on on the emergency stack.
#[inline(never)]
fn overflow_twice() {
    fn again(regs: &exception::PtRegs, kind: exception::Kind) -> ! {
        static FIRST: AtomicUsize = AtomicUsize::new(0);
        if FIRST.swap(1, Relaxed) == 0 {
            stack();
        }
        panic::fatal_exception(regs, kind)
    }
    // SAFETY: not sound, and meant so: the kernel ends, by way of another handler.
    unsafe { exception::set_fatal_handler(again) };
    kthread();
}

/// All registers are in the report, and those of a user's thread are as they were.
#[inline(never)]
fn registers() {
    fn report(regs: &exception::PtRegs, kind: exception::Kind) -> ! {
        let (tpidr, tpidrro): (u64, u64);
        // SAFETY: reads registers.
        unsafe {
            core::arch::asm!("mrs {}, tpidr_el0", "mrs {}, tpidrro_el0", out(reg) tpidr,
                out(reg) tpidrro, options(nomem, nostack, preserves_flags));
        }
        console::print_dying(format_args!("TPIDR_EL0 {tpidr:#x}, TPIDRRO_EL0 {tpidrro:#x}\n"));
        panic::fatal_exception(regs, kind)
    }
    // SAFETY: not sound, and meant so: the kernel ends, by way of another handler.
    unsafe { exception::set_fatal_handler(report) };
    // SAFETY: not sound, and meant so: where no stack is, an instruction is undefined.
    unsafe {
        core::arch::asm!(
            "mov x0, #0xb00",
            "msr tpidr_el0, x0",
            "mov x0, #0xc00",
            "msr tpidrro_el0, x0",
            "sub sp, sp, #16, lsl #12",
            ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22",
            "mov x\\n, #(0xa00 + \\n)",
            ".endr",
            ".irp n, 23, 24, 25, 26, 27, 28",
            "mov x\\n, #(0xa00 + \\n)",
            ".endr",
            "udf #0",
            options(noreturn)
        );
    }
}

/// Misuse of kmalloc, which `slab_debug=` finds.
mod slab {
    use crate::mm::gfp::Gfp;
    use crate::mm::slab::{kfree, kmalloc};

    #[inline(never)]
    fn alloc() -> *mut u8 {
        let object = kmalloc(64, Gfp::GFP_KERNEL);
        // No tail call: this function is to be in the stack.
        core::hint::black_box(object).map_or(core::ptr::null_mut(), |object| object.as_ptr())
    }

    #[inline(never)]
    fn free(object: *mut u8) {
        // SAFETY: not sound where it is misuse, and meant so: it is to be reported.
        unsafe { kfree(object) }
        // No tail call: this function is to be in the stack.
        core::hint::black_box(object);
    }

    #[inline(never)]
    fn write(object: *mut u8, at: isize) {
        // SAFETY: not sound, and meant so: within the object's slot, but for its red zones.
        unsafe { object.offset(at).write_volatile(0x41) }
    }

    #[inline(never)]
    pub fn overflow() {
        let object = alloc();
        write(object, 64);
        free(object);
    }

    #[inline(never)]
    pub fn underflow() {
        let object = alloc();
        write(object, -1);
        free(object);
    }

    #[inline(never)]
    pub fn use_after_free() {
        let object = alloc();
        free(object);
        write(object, 3);
        alloc();
    }

    #[inline(never)]
    pub fn double_free() {
        let object = alloc();
        free(object);
        free(object);
    }

    #[inline(never)]
    pub fn invalid_free() {
        free(alloc().wrapping_add(8));
    }
}
