//! Tests of interrupt lines, CPUs and redistributors in device trees.

use super::build::Builder;
use crate::firmware::fdt::{Cpu, Tree};
use std::vec::Vec;

/// A GIC of phandle 1 and a BCM2836's controller of phandle 2; the root's interrupts go to 1.
fn controllers() -> Builder {
    Builder::new(2, 2)
        .cells("interrupt-parent", &[1])
        .open("gic")
        .string("compatible", "arm,cortex-a15-gic")
        .flag("interrupt-controller")
        .cells("#interrupt-cells", &[3])
        .cells("phandle", &[1])
        .close()
        .open("local")
        .string("compatible", "brcm,bcm2836-l1-intc")
        .cells("#interrupt-cells", &[2])
        .cells("phandle", &[2])
        .close()
}

fn timer(builder: Builder) -> Builder {
    builder.open("timer").string("compatible", "arm,armv8-timer")
}

/// The numbers of the physical and of the virtual timer's interrupt: a GIC's, or a BCM2836's.
fn ids(builder: Builder) -> (Option<u32>, Option<u32>) {
    let blob = builder.close().blob();
    let tree = Tree::new(&blob).unwrap();
    let timer = tree.timer().unwrap();
    let id = |name| {
        let specifier = timer.interrupt(name)?;
        specifier.gic_id().or(specifier.bcm2836_line())
    };
    (id("phys"), id("virt"))
}

#[test]
fn the_timer_s_interrupts_go_by_place_or_by_name() {
    let four = [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4];
    assert_eq!(ids(timer(controllers()).cells("interrupts", &four)), (Some(30), Some(27)));
    let three = |names: &[u8]| {
        let node = timer(controllers()).cells("interrupts", &four[3..]);
        ids(node.bytes("interrupt-names", names))
    };
    assert_eq!(three(b"phys\0virt\0hyp-phys\0"), (Some(30), Some(27)));
    assert_eq!(three(b"hyp-phys\0phys\0virt\0"), (Some(27), Some(26)));
    // A name without an interrupt, and an interrupt without a name, are none.
    assert_eq!(three(b"sec-phys\0phys\0hyp-phys\0virt\0"), (Some(27), None));
    assert_eq!(three(b""), (None, None));
    // 16 is no PPI's number, and 2 no kind.
    assert_eq!(ids(timer(controllers()).cells("interrupts", &[1, 16, 4, 2, 14, 4])), (None, None));
    // Cut in the middle.
    assert_eq!(ids(timer(controllers()).cells("interrupts", &four[..8])), (Some(30), None));
}

#[test]
fn interrupts_extended_names_the_controller_of_each() {
    let extended = |cells: &[u32]| {
        // What `interrupts` says does not count then.
        let node = timer(controllers()).cells("interrupts", &[1, 1, 1, 1, 1, 1, 1, 1, 1]);
        ids(node.cells("interrupts-extended", cells))
    };
    assert_eq!(extended(&[1, 1, 13, 4, 1, 1, 14, 4, 1, 1, 11, 4]), (Some(30), Some(27)));
    assert_eq!(extended(&[2, 0, 4, 2, 1, 4, 2, 3, 4]), (Some(1), Some(3)));
    // Entries of different lengths.
    assert_eq!(extended(&[2, 0, 4, 1, 1, 14, 4, 2, 3, 4]), (Some(30), Some(3)));
    // Behind a controller that is not there nothing can be told.
    assert_eq!(extended(&[2, 0, 4, 7, 1, 14, 4, 2, 3, 4]), (None, None));
    assert_eq!(extended(&[2, 0, 4, 2, 1]), (None, None));
    assert_eq!(extended(&[]), (None, None));
}

#[test]
fn the_controller_is_the_nearest_that_is_named_or_above() {
    let below = controllers().open("soc").cells("#interrupt-cells", &[1]);
    assert_eq!(ids(timer(below).cells("interrupts", &[1, 2, 3]).close()), (None, None));
    let named = controllers().open("soc").cells("interrupt-parent", &[2]);
    let named = timer(named).cells("interrupts", &[0, 4, 1, 4, 3, 4]).close();
    assert_eq!(ids(named), (Some(1), Some(3)));
}

#[test]
fn cpus_go_by_name_or_type_and_are_started_unless_they_failed() {
    let node = |builder: Builder, name: &str, kind: Option<&str>, status: Option<&str>| {
        let mut builder = builder.open(name);
        for (property, value) in [("device_type", kind), ("status", status)] {
            if let Some(value) = value {
                builder = builder.string(property, value);
            }
        }
        builder.close()
    };
    let mut builder = Builder::new(2, 2).open("cpus");
    for (name, kind, status) in [
        ("cpu@0", None, None),
        ("cpu@1", Some("cpu"), Some("okay")),
        ("core@2", Some("cpu"), Some("disabled")),
        ("cpu@3", None, Some("fail")),
        ("cpu@4", None, Some("fail-sss")),
        ("cpu@5", None, Some("reserved")),
        ("cpu-map", None, None),
        ("l2-cache", Some("cache"), None),
        ("cpu", None, Some("ok")),
    ] {
        builder = node(builder, name, kind, status);
    }
    let blob = builder.close().blob();
    let tree = Tree::new(&blob).unwrap();
    let names = |f: fn(&Cpu<'_>) -> bool| {
        let cpus = tree.cpus().unwrap().iter().filter(f);
        cpus.map(|cpu| std::format!("{}", cpu.node.name())).collect::<Vec<_>>()
    };
    let all = ["cpu@0", "cpu@1", "core@2", "cpu@3", "cpu@4", "cpu@5", "cpu"];
    assert_eq!(names(|_| true), all);
    assert_eq!(names(|cpu| cpu.is_available()), ["cpu@0", "cpu@1", "core@2", "cpu"]);
}

#[test]
fn redistributors_are_as_many_as_the_node_says() {
    let regions = |count: Option<u32>, reg: &[u64]| {
        let mut builder = Builder::new(2, 2).open("gic").string("compatible", "arm,gic-v3");
        builder = builder.flag("interrupt-controller").longs("reg", reg);
        if let Some(count) = count {
            builder = builder.cells("#redistributor-regions", &[count]);
        }
        let blob = builder.longs("redistributor-stride", &[0x4_0000]).close().blob();
        let tree = Tree::new(&blob).unwrap();
        let gic = tree.interrupt_controller().unwrap();
        assert_eq!(gic.redistributor_stride(), Some(0x4_0000));
        gic.redistributors().map(|range| range.start().get()).collect::<Vec<_>>()
    };
    let reg = [0x1000, 0x1000, 0x2000, 0x1000, 0x4000, 0x1000, 0x9000, 0x1000];
    assert_eq!(regions(None, &reg), [0x2000]);
    assert_eq!(regions(Some(2), &reg), [0x2000, 0x4000]);
    assert_eq!(regions(Some(3), &reg), [0x2000, 0x4000, 0x9000]);
    assert_eq!(regions(Some(u32::MAX), &reg), [0x2000, 0x4000, 0x9000]);
    assert_eq!(regions(Some(0), &reg), [0; 0]);
}
