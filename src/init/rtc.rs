//! The realtime clock is set from the machine's RTC (Linux: rtc_hctosys of drivers/rtc/class.c).

use super::Boot;
use crate::addr::PhysRange;
use crate::drivers::rtc::{BYTES, Pl031};
use crate::mm::ioremap::ioremap;
use crate::time::{Date, NSEC_PER_SEC, do_settimeofday64};
use log::{info, warn};

/// Sets the realtime clock, if the device tree names a PL031 that answers. After the boot, as an
/// initcall of Linux's is: what the kernel itself does needs no date. Process context.
pub fn hctosys(boot: &Boot) {
    let Some(registers) = boot.tree.pl031() else { return };
    let Some(rtc) = map(registers) else {
        warn!("rtc-pl031: no PL031 answers where the device tree says");
        return;
    };
    let seconds = u64::from(rtc.seconds());
    match do_settimeofday64(seconds * NSEC_PER_SEC) {
        Ok(()) => {
            let date = Date::from_seconds(seconds);
            info!("rtc-pl031: setting system clock to {date} UTC ({seconds})");
        }
        Err(why) => warn!("rtc-pl031: {why}"),
    }
}

fn map(registers: PhysRange) -> Option<Pl031> {
    if registers.len() < BYTES {
        return None;
    }
    let mapped = ioremap(registers.start(), BYTES).ok()?;
    // SAFETY: the device tree says that the registers are there, for this driver alone. The mapping
    // stays if there is a device.
    let rtc = unsafe { Pl031::new(mapped.virt()) }?;
    core::mem::forget(mapped);
    Some(rtc)
}
