//! /proc.

#[cfg(target_os = "none")]
use super::proc_stat;
use super::tree::{File, Node};
use super::{Snapshot, sysctl};
use crate::firmware::fdt::Text;
use crate::mm::stat;
use crate::resource::{IoMem, iomem};
use crate::sync::Once;
use core::fmt;

crate::machine_local! {
    static CMDLINE: Once<&'static str> = Once::new();
    static MODEL: Once<Text<'static>> = Once::new();
    static KALLSYMS: Once<fn(&mut dyn fmt::Write) -> fmt::Result> = Once::new();
}

/// Says what the device tree calls the machine. The first call counts.
pub fn set_model(text: Text<'static>) {
    MODEL.call_once(|| text);
}

/// All of memory's state.
pub(super) fn snapshot() -> Snapshot<'static> {
    Snapshot {
        model: MODEL.get().copied().unwrap_or(Text::new(b"")),
        cmdline: CMDLINE.get().copied().unwrap_or(""),
    }
}

/// Says what the kernel's command line is. The first call counts.
pub fn set_cmdline(text: &'static str) {
    CMDLINE.call_once(|| text);
}

/// Sets the function that writes the kernel's symbols. The first call counts.
pub fn set_kallsyms(show: fn(&mut dyn fmt::Write) -> fmt::Result) {
    KALLSYMS.call_once(|| show);
}

pub(super) const FILES: &[Node] = &[
    Node::File(File::new("buddyinfo", |_, out| write!(out, "{}", stat::BuddyInfo))),
    Node::File(File::new("cmdline", |_, out| {
        writeln!(out, "{}", CMDLINE.get().copied().unwrap_or(""))
    })),
    Node::File(File::new("iomem", |_, out| write!(out, "{}", IoMem(iomem())))),
    Node::File(File::private("kallsyms", |_, out| match KALLSYMS.get() {
        Some(show) => show(out),
        None => Ok(()),
    })),
    #[cfg(target_os = "none")]
    Node::File(File::new("loadavg", |_, out| proc_stat::load(out))),
    Node::File(File::new("meminfo", |_, out| write!(out, "{}", stat::MemInfo))),
    Node::File(File::private("pagetypeinfo", |_, out| write!(out, "{}", stat::PageTypeInfo))),
    Node::File(File::private("slabinfo", |_, out| write!(out, "{}", stat::SlabInfoFile))),
    #[cfg(target_os = "none")]
    Node::File(File::new("stat", |_, out| proc_stat::stat(out))),
    Node::Dir("sys", &[Node::Dir("kernel", sysctl::KERNEL), Node::Dir("vm", sysctl::VM)]),
    #[cfg(target_os = "none")]
    Node::File(File::new("uptime", |_, out| proc_stat::uptime(out))),
    #[cfg(target_os = "none")]
    Node::File(File::new("version", |_, out| proc_stat::version(out))),
    Node::File(File::private("vmallocinfo", |_, out| write!(out, "{}", stat::VmallocInfo))),
    Node::File(File::new("vmstat", |_, out| write!(out, "{}", stat::VmStat))),
    Node::File(File::new("zoneinfo", |_, out| write!(out, "{}", stat::ZoneInfoFile))),
];
