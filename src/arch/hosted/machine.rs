//! A machine: RAM, frame descriptors, machine-local statics, CPUs.

use super::cpu;
use super::mmu::Mmu;
use crate::addr::{PAGE_SHIFT, PhysAddr, PhysRange};
use crate::arch::{CpuId, NR_CPUS};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::any::Any;
use std::boxed::Box;
use std::cell::Cell;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::vec::Vec;

/// Bytes of a frame descriptor, as `mm::page` asserts it.
const DESCRIPTOR_SIZE: usize = 32;
/// RAM and descriptors are laid out from a multiple of this: the largest buddy block.
const GRAIN: u64 = 4 << 20;
/// The statics of `machine_local!` that there can be.
const LOCALS: usize = 256;

std::thread_local! {
    static CURRENT: Cell<Option<&'static Machine>> = const { Cell::new(None) };
}

/// Emulated machine. See the module above.
pub struct Machine {
    ram: Vec<PhysRange>,
    arena: Block,
    vmemmap: Block,
    start: u64,
    /// Bytes from `start` to the end of the highest range.
    span: u64,
    locals: Vec<OnceLock<Box<dyn Any + Send + Sync>>>,
    pub(super) mmu: Mmu,
    /// Mutex of each CPU that its threads hold with interrupts masked.
    turns: [Mutex<()>; NR_CPUS],
}

impl Machine {
    /// Builds a machine with these ranges of RAM and runs `f` on its boot CPU.
    ///
    /// Host memory is taken for the whole span from the lowest to the highest
    /// range, but touched only where it is used. It is never given back: what `f` had from the machine
    /// may outlive it, as a `KBox` or a `&'static Page` that is returned does. Such a value can still be
    /// read; where an allocator is asked for it, as by a drop, when the thread is no CPU of its machine,
    /// that panics. (The library's own tests, which keep nothing, end their machines.)
    ///
    /// # Panics
    /// Where `ram` is empty.
    pub fn run<R>(ram: &[PhysRange], f: impl FnOnce(&Machine) -> R) -> R {
        let low = ram.iter().map(|r| r.start().get()).min().expect("a machine has RAM");
        let high = ram.iter().map(|r| r.end().get()).max().expect("a machine has RAM");
        let start = low & !(GRAIN - 1);
        let span = high.next_multiple_of(GRAIN) - start;
        let machine = Box::new(Machine {
            ram: ram.to_vec(),
            arena: Block::new(span as usize, 2 << 20),
            vmemmap: Block::new((span >> PAGE_SHIFT) as usize * DESCRIPTOR_SIZE, 4096),
            start,
            span,
            locals: (0..LOCALS).map(|_| OnceLock::new()).collect(),
            mmu: Mmu::default(),
            turns: [const { Mutex::new(()) }; NR_CPUS],
        });
        #[cfg(not(test))]
        let machine = std::mem::ManuallyDrop::new(machine);
        machine.attached(CpuId::BOOT, || f(&machine))
    }

    /// Runs `f(i)` on CPU `i` for each `i` below `cpus`, at once, and waits for all.
    /// The calling CPU rests meanwhile, so CPU 0 is one of them.
    pub fn on_cpus(&self, cpus: usize, f: impl Fn(usize) + Sync) {
        self.mmu.all_meet();
        std::thread::scope(|scope| {
            for i in 0..cpus {
                let f = &f;
                let id = CpuId::new(i).expect("no more than NR_CPUS");
                scope.spawn(move || self.attached(id, || f(i)));
            }
        });
        self.mmu.all_meet();
    }

    /// Runs `f` as CPU `id` on the calling thread, whose own CPU rests meanwhile. Unlike with
    /// [`Machine::on_cpus`] they don't wait for each other: as far as memory goes, one knows
    /// of what the other did through locks alone.
    pub fn on_cpu<R>(&self, id: CpuId, f: impl FnOnce() -> R) -> R {
        struct Back(CpuId);
        impl Drop for Back {
            fn drop(&mut self) {
                cpu::set_id(self.0);
            }
        }
        let _back = Back(cpu::own_id());
        super::irq::as_another_cpu(|| self.attached(id, f))
    }

    /// Runs `f(i)` on `threads` threads of CPU `id`, and waits for all. One of them may run
    /// wherever another could be interrupted; with interrupts masked one runs at a time. The
    /// calling CPU rests meanwhile.
    pub fn on_threads(&self, id: CpuId, threads: usize, f: impl Fn(usize) + Sync) {
        self.mmu.all_meet();
        // SAFETY: the threads end before the scope does, and `in_turn` with them.
        let turn = unsafe {
            core::mem::transmute::<&Mutex<()>, &'static Mutex<()>>(&self.turns[id.index()])
        };
        std::thread::scope(|scope| {
            for i in 0..threads {
                let f = &f;
                scope.spawn(move || super::irq::in_turn(turn, || self.attached(id, || f(i))));
            }
        });
        self.mmu.all_meet();
    }

    /// The ranges of RAM that it was built with.
    #[must_use]
    pub fn ram(&self) -> &[PhysRange] {
        &self.ram
    }

    /// Returns true if the byte at `pa` is RAM.
    #[must_use]
    pub fn is_ram(&self, pa: PhysAddr) -> bool {
        self.ram.iter().any(|r| r.contains(pa))
    }

    fn attached<R>(&self, id: CpuId, f: impl FnOnce() -> R) -> R {
        struct Detach(Option<&'static Machine>);
        impl Drop for Detach {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        // SAFETY: `Detach` takes the reference away again before `self` can end,
        // and it is read through `current` alone, whose users run inside `f`.
        let here = unsafe { core::mem::transmute::<&Machine, &'static Machine>(self) };
        let _detach = Detach(CURRENT.replace(Some(here)));
        cpu::set_id(id);
        f()
    }

    /// Returns true if the machine's array of descriptors has one for the frame at `pa`.
    pub(super) fn has_descriptor(&self, pa: PhysAddr) -> bool {
        pa.get() >= self.start && pa.get() - self.start < self.span
    }

    pub(super) fn page_offset(&self) -> usize {
        self.arena.address().wrapping_sub(self.start as usize)
    }

    pub(super) fn vmemmap_base(&self) -> usize {
        let first = (self.start >> PAGE_SHIFT) as usize;
        self.vmemmap.address().wrapping_sub(first.wrapping_mul(DESCRIPTOR_SIZE))
    }
}

/// The machine that the calling thread is a CPU of, if it is one.
pub(super) fn try_current() -> Option<&'static Machine> {
    CURRENT.get()
}

/// Returns true if the calling thread is a CPU of a machine, and has per-CPU data.
pub(crate) fn is_cpu() -> bool {
    try_current().is_some()
}

/// The machine that the calling thread is a CPU of.
pub(super) fn current() -> &'static Machine {
    try_current().expect("this thread is no CPU of a machine: call inside Machine::run")
}

/// A static that exists once per machine: on bare metal a plain static, here one
/// instance for each [`Machine`], made when it is first used.
pub struct MachineLocal<T: 'static> {
    init: fn() -> T,
    /// Index of its instance in every machine's `locals`, plus 1; 0 before the first use.
    place: AtomicUsize,
}

impl<T> MachineLocal<T> {
    /// Constructor for `machine_local!` only.
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> Self {
        Self { init, place: AtomicUsize::new(0) }
    }

    fn place(&self) -> usize {
        static PLACES: AtomicUsize = AtomicUsize::new(0);
        match self.place.load(Relaxed) {
            0 => {
                let new = PLACES.fetch_add(1, Relaxed) + 1;
                // Of two threads that are first at once, one place goes unused.
                match self.place.compare_exchange(0, new, Relaxed, Relaxed) {
                    Ok(_) => new - 1,
                    Err(other) => other - 1,
                }
            }
            place => place - 1,
        }
    }
}

impl<T: Any + Send + Sync> MachineLocal<T> {
    /// Returns this machine's value.
    pub fn value(&'static self) -> &'static T {
        self
    }
}

impl<T: Any + Send + Sync> Deref for MachineLocal<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let local = current().locals.get(self.place()).expect("no more than LOCALS statics");
        let value: &dyn Any = &**local.get_or_init(|| Box::new((self.init)()));
        let value: &T = value.downcast_ref().expect("a place is of one static");
        // SAFETY: an instance is never removed before the machine ends, and what the
        // interface hands out is valid until then.
        unsafe { core::mem::transmute::<&T, &T>(value) }
    }
}

/// Zeroed host memory that is given back when dropped.
struct Block {
    ptr: *mut u8,
    layout: Layout,
    align: usize,
}

// SAFETY: the block is only an address here; its bytes are reached through the interface.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    fn new(bytes: usize, align: usize) -> Self {
        // Aligned here and not by the allocator, which would touch every byte to zero it.
        let layout = Layout::from_size_align(bytes + align, 16).expect("a sane size");
        // SAFETY: `bytes` is not zero: a machine has RAM.
        let ptr = unsafe { alloc_zeroed(layout) };
        if ptr.is_null() {
            handle_alloc_error(layout);
        }
        Self { ptr, layout, align }
    }

    fn address(&self) -> usize {
        self.ptr.expose_provenance().next_multiple_of(self.align)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.ptr, self.layout) }
    }
}
