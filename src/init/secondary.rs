//! The other cores, from their first Rust function on.

use crate::arch::CpuId;
use crate::arch::aarch64::{cpu, smp};
use log::info;

/// head.S comes here on a core that started, on its own stack, with TPIDR_EL1 set.
///
/// # Safety
/// For head.S alone, once on each core.
#[unsafe(no_mangle)]
unsafe extern "C" fn secondary_start_kernel(number: u64) -> ! {
    let Some(id) = CpuId::new(number as usize) else {
        cpu::park()
    };
    smp::came_up(id);
    info!("CPU{number}: up, MPIDR {:#x}", smp::mpidr());
    loop {
        cpu::wait();
    }
}
