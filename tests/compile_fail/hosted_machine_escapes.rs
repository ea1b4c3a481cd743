//! `Machine::run`: the machine is lent to the closure, and can't be kept.
//@ target: host
#![forbid(unsafe_code)]

use granule::addr::PhysRange;
use granule::arch::hosted::Machine;

pub fn escape(ram: &[PhysRange]) {
    let mut kept: Option<&Machine> = None;
    Machine::run(ram, |m| {
        let _ = m.ram().len();
        kept = Some(m); //~ E0521
    });
    let _ = kept.map(|m| m.ram().len());
}
