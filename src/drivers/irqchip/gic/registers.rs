//! Layouts and fields of the registers of a GICv2 (Arm IHI 0048, 4) and a GICv3 (Arm IHI 0069,
//! 12.8 to 12.11), as far as they are used here.

use crate::drivers::mmio::{ReadOnly, ReadWrite, WriteOnly};
use tock_registers::{register_bitfields, register_structs};

/// Words of a bit for each of 32 interrupts.
pub(super) type Bits = [ReadWrite<u32>; 32];

register_structs! {
    /// Registers of interrupts, at the same place in both distributors and in the SGI page of a
    /// GICv3's redistributor; of private interrupts as many words as there are.
    pub(super) InterruptRegisters {
        (0x000 => pub(super) igroupr: Bits),
        (0x080 => pub(super) isenabler: Bits),
        (0x100 => pub(super) icenabler: Bits),
        (0x180 => _ispendr),
        (0x200 => pub(super) icpendr: Bits),
        (0x280 => _isactiver),
        (0x300 => pub(super) icactiver: Bits),
        /// A byte for each interrupt.
        (0x380 => pub(super) ipriorityr: [ReadWrite<u32>; 256]),
        /// GICv2's distributor: the CPUs that get a shared interrupt, a byte for each.
        (0x780 => pub(super) itargetsr: [ReadWrite<u32>; 256]),
        /// Whether an interrupt's edge counts: 2 bits for each.
        (0xb80 => pub(super) icfgr: [ReadWrite<u32>; 64]),
        (0xc80 => @END),
    },

    /// A GICv2's distributor.
    pub(super) DistributorV2 {
        (0x0000 => pub(super) ctlr: ReadWrite<u32, GICD_CTLR_V2::Register>),
        (0x0004 => pub(super) typer: ReadOnly<u32, GICD_TYPER::Register>),
        (0x0008 => _iidr),
        (0x0080 => pub(super) interrupts: InterruptRegisters),
        (0x0d00 => _implementation),
        (0x0f00 => pub(super) sgir: WriteOnly<u32, GICD_SGIR::Register>),
        (0x0f04 => _reserved),
        /// Pending software-generated interrupts, a byte of senders for each.
        (0x0f10 => pub(super) cpendsgir: [ReadWrite<u32>; 4]),
        (0x0f20 => _spendsgir),
        (0x0fe8 => pub(super) pidr2: ReadOnly<u32, PIDR2::Register>),
        (0x0fec => _cidr),
        (0x1000 => @END),
    },

    /// A GICv2's CPU interface.
    pub(super) CpuInterface {
        (0x00 => pub(super) ctlr: ReadWrite<u32, GICC_CTLR::Register>),
        (0x04 => pub(super) pmr: ReadWrite<u32, Priority::Register>),
        (0x08 => _bpr),
        (0x0c => pub(super) iar: ReadOnly<u32, GICC_IAR::Register>),
        (0x10 => pub(super) eoir: WriteOnly<u32, GICC_IAR::Register>),
        (0x14 => pub(super) rpr: ReadOnly<u32, Priority::Register>),
        (0x18 => _others),
        (0xd0 => pub(super) apr: [ReadWrite<u32>; 4]),
        (0xe0 => _nsapr),
        (0xfc => pub(super) iidr: ReadOnly<u32, GICC_IIDR::Register>),
        (0x100 => @END),
    },

    /// A GICv3's distributor.
    pub(super) DistributorV3 {
        (0x0000 => pub(super) ctlr: ReadWrite<u32, GICD_CTLR::Register>),
        (0x0004 => pub(super) typer: ReadOnly<u32, GICD_TYPER::Register>),
        (0x0008 => _iidr),
        (0x0080 => pub(super) interrupts: InterruptRegisters),
        (0x0d00 => _nsacr),
        // Extended shared interrupts (GICv3.1), numbered from 4096 on.
        (0x1000 => pub(super) igroupr_e: Bits),
        (0x1080 => _isenabler_e),
        (0x1400 => pub(super) icenabler_e: Bits),
        (0x1480 => _ispendr_e),
        (0x1800 => pub(super) icpendr_e: Bits),
        (0x1880 => _isactiver_e),
        (0x1c00 => pub(super) icactiver_e: Bits),
        (0x1c80 => _ipriorityr_e),
        /// The CPU that gets a shared interrupt, by its affinity.
        (0x6000 => pub(super) irouter: [ReadWrite<u64>; 1020]),
        (0x7fe0 => _irouter_e),
        (0xffe8 => pub(super) pidr2: ReadOnly<u32, PIDR2::Register>),
        (0xffec => _cidr),
        (0x10000 => @END),
    },

    /// The first page of a GICv3's redistributor.
    pub(super) RedistributorPage {
        (0x0000 => pub(super) ctlr: ReadWrite<u32, GICR_CTLR::Register>),
        (0x0004 => _iidr),
        // GICR_TYPER, in halves.
        (0x0008 => pub(super) typer: ReadOnly<u32, GICR_TYPER::Register>),
        (0x000c => pub(super) typer_affinity: ReadOnly<u32>),
        (0x0010 => _statusr),
        (0x0014 => pub(super) waker: ReadWrite<u32, GICR_WAKER::Register>),
        (0x0018 => _lpis),
        (0xffe8 => pub(super) pidr2: ReadOnly<u32, PIDR2::Register>),
        (0xffec => _cidr),
        (0x10000 => @END),
    },

    /// A GICv3's redistributor without the frames of virtual LPIs.
    pub(super) RedistributorFrame {
        (0x00000 => pub(super) own: RedistributorPage),
        (0x10000 => _sgi_ctlr),
        (0x10080 => pub(super) private: InterruptRegisters),
        (0x10d00 => _sgi_nsacr),
        (0x20000 => @END),
    }
}

register_bitfields! { u32,
    pub(super) GICD_CTLR_V2 [
        /// Forwards the group that this security state sees as its own.
        ENABLE OFFSET(0) NUMBITS(1) [],
    ],
    pub(super) GICD_TYPER [
        /// Extended shared interrupts: their words of 32, less one.
        ESPI_RANGE OFFSET(27) NUMBITS(5) [],
        /// There are extended shared interrupts.
        ESPI OFFSET(8) NUMBITS(1) [],
        /// Interrupts, in words of 32, less one.
        IT_LINES_NUMBER OFFSET(0) NUMBITS(5) [],
    ],
    pub(super) GICD_SGIR [
        CPU_TARGET_LIST OFFSET(16) NUMBITS(8) [],
        INTID OFFSET(0) NUMBITS(4) [],
    ],
    pub(super) PIDR2 [
        /// The version of the architecture.
        ARCH_REV OFFSET(4) NUMBITS(4) [],
    ],
    pub(super) GICC_CTLR [
        /// Signals the group that this security state sees as its own. EOImode stays 0: the end
        /// of an interrupt deactivates it.
        ENABLE OFFSET(0) NUMBITS(1) [],
    ],
    /// A priority of interrupts; the higher, the lower its value.
    pub(super) Priority [
        PRIORITY OFFSET(0) NUMBITS(8) [ Lowest = 0xff ],
    ],
    /// GICC_IAR, and GICC_EOIR, to which the value goes back.
    pub(super) GICC_IAR [
        /// The sender of a software-generated interrupt.
        CPUID OFFSET(10) NUMBITS(3) [],
        INTID OFFSET(0) NUMBITS(10) [],
    ],
    pub(super) GICC_IIDR [
        /// The version of the architecture.
        ARCHITECTURE OFFSET(16) NUMBITS(4) [],
    ],
    pub(super) GICD_CTLR [
        /// A write is still on its way.
        RWP OFFSET(31) NUMBITS(1) [],
        /// Affinity routing.
        ARE OFFSET(4) NUMBITS(1) [],
        /// The groups of this security state.
        ENABLE_1 OFFSET(1) NUMBITS(1) [],
        ENABLE_0 OFFSET(0) NUMBITS(1) [],
    ],
    pub(super) GICR_CTLR [
        /// A write is still on its way.
        RWP OFFSET(3) NUMBITS(1) [],
        /// Locality-specific interrupts (LPIs) are sent. Their pending bits are in memory.
        ENABLE_LPIS OFFSET(0) NUMBITS(1) [],
    ],
    /// The lower half of GICR_TYPER.
    pub(super) GICR_TYPER [
        /// Extended private interrupts (GICv3.1), numbered from 1056 on: words of 32 of them. Their
        /// registers are behind those of the other private ones.
        PPI_NUM OFFSET(27) NUMBITS(5) [],
        /// No other redistributor follows in its region.
        LAST OFFSET(4) NUMBITS(1) [],
        /// There are virtual LPIs, and two more frames for them.
        VLPIS OFFSET(1) NUMBITS(1) [],
    ],
    pub(super) GICR_WAKER [
        CHILDREN_ASLEEP OFFSET(2) NUMBITS(1) [],
        PROCESSOR_SLEEP OFFSET(1) NUMBITS(1) [],
    ],
}
