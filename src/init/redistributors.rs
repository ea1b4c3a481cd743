//! Assignment of a GICv3's redistributors to cores (Linux: gic_iterate_rdists).
//!
//! Each CPU has one, somewhere in the regions of the device tree, and says its affinity. They
//! are looked at in pieces of a region; a piece in which a CPU's was found stays mapped.

use crate::addr::{PhysAddr, PhysRange, VirtAddr};
use crate::arch::CpuId;
use crate::drivers::irqchip::gic::v3::{self, REDISTRIBUTOR_BYTES};
use crate::firmware::fdt::InterruptController;
use crate::mm::alloc::KVec;
use crate::mm::gfp::Gfp;
use crate::mm::ioremap::ioremap;
use arrayvec::ArrayVec;
use log::warn;

/// Bytes of a region that are mapped at a time: eight redistributors without virtual LPIs.
const PIECE: u64 = 8 * REDISTRIBUTOR_BYTES as u64;
/// Each block of registers has 64 KiB.
const GRANULE: u64 = 64 << 10;
/// Regions that are looked at.
const MAX_REGIONS: usize = crate::firmware::fdt::MAX_REGIONS;

/// The redistributors of the machine; none where there is no GICv3.
pub struct Redistributors {
    regions: ArrayVec<PhysRange, MAX_REGIONS>,
    /// Bytes from one to the next; where it is not said, each tells.
    stride: Option<u64>,
    /// Pieces that stay mapped.
    mapped: KVec<(PhysRange, VirtAddr)>,
}

/// A walk's next step.
enum Step {
    Found(VirtAddr),
    /// The one behind is at this address.
    Next(PhysAddr),
    /// There is none behind, in this region.
    End,
}

impl Redistributors {
    pub(super) const fn none() -> Self {
        Self { regions: ArrayVec::new_const(), stride: None, mapped: KVec::new() }
    }

    /// Collects the redistributor regions of the device tree's controller.
    pub(super) fn of(controller: &InterruptController<'_>) -> Self {
        let stride = controller.redistributor_stride();
        let usable = stride.filter(|&stride| {
            stride >= REDISTRIBUTOR_BYTES as u64 && stride.is_multiple_of(GRANULE)
        });
        if let (Some(stride), None) = (stride, usable) {
            warn!(
                "GICv3: redistributor-stride {stride:#x} ignored: no multiple of 64 KiB from 128 KiB on"
            );
        }
        let mut regions = ArrayVec::new();
        for region in controller.redistributors() {
            if region.len() < REDISTRIBUTOR_BYTES as u64 || regions.try_push(region).is_err() {
                warn!("GICv3: the redistributors' region at {} is left out", region.start());
            }
        }
        Self { regions, stride: usable, mapped: KVec::new() }
    }

    /// Tells the controller's driver which redistributor belongs to core `mpidr`, which is or
    /// becomes `cpu`. Where there is none the CPU will have no interrupts. Boot CPU, before
    /// `cpu` has interrupts.
    pub(super) fn assign(&mut self, cpu: CpuId, mpidr: u64) {
        let [a0, a1, a2, _, a3, ..] = mpidr.to_le_bytes();
        let affinity = u32::from_le_bytes([a0, a1, a2, a3]);
        // A core that was not sent off may have had the number before: nothing of it stays.
        let frame = self.find(affinity);
        // SAFETY: there is such a redistributor there, mapped for good; nobody but the driver
        // uses it.
        unsafe { v3::set_redistributor(cpu, frame) };
    }

    fn find(&mut self, affinity: u32) -> Option<VirtAddr> {
        // Mostly the latest has the next core's too.
        for (piece, virt) in self.mapped.iter().rev() {
            if let Step::Found(frame) = self.look(affinity, *piece, *virt, piece.start()) {
                return Some(frame);
            }
        }
        for region in self.regions.clone() {
            let mut at = region.start();
            while at.saturating_add(REDISTRIBUTOR_BYTES as u64) <= region.end() {
                let piece = PhysRange::from_size(at, PIECE).intersect(region);
                let Ok(registers) = ioremap(piece.start(), piece.len()) else {
                    warn!("GICv3: the redistributors at {at} can't be mapped");
                    break;
                };
                match self.look(affinity, piece, registers.virt(), at) {
                    Step::Found(frame) => {
                        // Without memory for that it is mapped once more for the next core of it.
                        let _ = self.mapped.push((piece, registers.virt()), Gfp::GFP_KERNEL);
                        core::mem::forget(registers);
                        return Some(frame);
                    }
                    Step::Next(next) => at = next,
                    Step::End => break,
                }
            }
        }
        None
    }

    /// Looks for the redistributor of `affinity` from `at` on, as far as `piece`, which is
    /// mapped at `virt`, goes.
    fn look(&self, affinity: u32, piece: PhysRange, virt: VirtAddr, mut at: PhysAddr) -> Step {
        while at.saturating_add(REDISTRIBUTOR_BYTES as u64) <= piece.end() {
            let frame = virt + (at - piece.start()) as usize;
            // SAFETY: within the piece, which the device tree says to be redistributors.
            let Some(one) = (unsafe { v3::look_at(frame) }) else { return Step::End };
            if one.affinity == affinity {
                return Step::Found(frame);
            }
            let Some(next) = at.checked_add(self.stride.unwrap_or(one.bytes as u64)) else {
                return Step::End;
            };
            if one.is_last {
                return Step::End;
            }
            at = next;
        }
        Step::Next(at)
    }
}
