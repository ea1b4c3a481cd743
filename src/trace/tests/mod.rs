//! The ring against a model, the text of each event, and tracing on emulated machines.

mod points;
mod ring;

use super::event::{Event, Format, MAX_RECORD, Text, Type, Value};
use super::events::Id;
use super::*;
use Value::{N, S};
use std::collections::HashSet;
use std::format;
use std::string::{String, ToString};

/// The text of an event with these fields.
fn text(id: Id, values: &[Value<'_>]) -> String {
    let mut record = [0; MAX_RECORD];
    let len = id.event().encode(values, &mut record);
    Text(id.event(), &record[..len]).to_string()
}

/// Events read as Linux 6.12 prints them; but for `page`, which follows from the place of
/// descriptors.
#[test]
fn each_event_reads_as_in_linux() {
    let page = |pfn: u64| format!("{:#x}", crate::arch::vmemmap_base() as u64 + pfn * 32);
    let gfp = |gfp: crate::mm::gfp::Gfp| N(gfp.bits().into());
    use crate::mm::gfp::Gfp;
    let ram = crate::addr::PhysRange::from_size(crate::addr::PhysAddr::new(0x4000_0000), 4 << 20);
    crate::arch::hosted::Machine::run(&[ram], |_| {
        let minus = |n: i64| N(n as u64);
        for (id, values, expected) in [
            (
                Id::MmPageAlloc,
                &[N(0x47da0), N(3), gfp(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO), N(1)][..],
                format!(
                    "page={} pfn=0x47da0 order=3 migratetype=1 gfp_flags=GFP_KERNEL|__GFP_ZERO",
                    page(0x47da0)
                ),
            ),
            (
                Id::MmPageAlloc,
                &[minus(-1), N(10), N(0), N(0)],
                "page=0x0 pfn=0xffffffffffffffff order=10 migratetype=0 gfp_flags=none".into(),
            ),
            (
                Id::MmPageFree,
                &[N(0x400ff), N(9)],
                format!("page={} pfn=0x400ff order=9", page(0x400ff)),
            ),
            (
                Id::MmPageAllocExtfrag,
                &[N(0x100), N(1), N(8), N(2), N(1), N(1)],
                format!(
                    "page={} pfn=0x100 alloc_order=1 fallback_order=8 pageblock_order=9 \
                     alloc_migratetype=2 fallback_migratetype=1 fragmenting=1 change_ownership=1",
                    page(0x100)
                ),
            ),
            (
                Id::MmPageAllocExtfrag,
                &[N(0x400), N(1), N(9), N(0), N(1), N(1)],
                format!(
                    "page={} pfn=0x400 alloc_order=1 fallback_order=9 pageblock_order=9 \
                     alloc_migratetype=0 fallback_migratetype=1 fragmenting=0 change_ownership=1",
                    page(0x400)
                ),
            ),
            (
                Id::Kmalloc,
                &[
                    N(0x1234),
                    N(0xffff_0000_47c4_d800),
                    N(640),
                    N(1024),
                    gfp(Gfp::GFP_ATOMIC),
                    minus(-1),
                ],
                "call_site=0x1234 ptr=0xffff000047c4d800 bytes_req=640 bytes_alloc=1024 \
                 gfp_flags=GFP_ATOMIC node=-1 accounted=false"
                    .into(),
            ),
            (
                Id::KmemCacheAlloc,
                &[N(1), N(0), N(96), N(104), gfp(Gfp::GFP_KERNEL_ACCOUNT), N(2), N(1)],
                "call_site=0x1 ptr=0x0 bytes_req=96 bytes_alloc=104 gfp_flags=GFP_KERNEL_ACCOUNT \
                 node=2 accounted=true"
                    .into(),
            ),
            (Id::Kfree, &[N(1), N(0x10)], "call_site=0x1 ptr=0x10".into()),
            (
                Id::KmemCacheFree,
                &[N(1), N(0x10), S("slab_sheaf")],
                "call_site=0x1 ptr=0x10 name=slab_sheaf".into(),
            ),
            (
                Id::AllocVmapArea,
                &[N(18), N(69632), N(4096), N(0x10), N(0x20), N(1)],
                "va_start: 18 size=69632 align=4096 vstart=0x10 vend=0x20 failed=1".into(),
            ),
            (
                Id::FreeVmapAreaNoflush,
                &[N(0xffff_8001_0000_0000), N(17), N(16384)],
                "va_start=0xffff800100000000 nr_lazy=17 nr_lazy_max=16384".into(),
            ),
            (
                Id::PurgeVmapAreaLazy,
                &[N(0x1000), N(0x3000), N(2)],
                "start=0x1000 end=0x3000 num_purged=2".into(),
            ),
            (
                Id::CmaAllocStart,
                &[S("linux,cma"), N(16), N(4)],
                "name=linux,cma count=16 align=4".into(),
            ),
            (
                Id::CmaAllocFinish,
                &[S("pool"), N(0), N(0), N(16), N(4), minus(-12)],
                "name=pool pfn=0x0 page=0x0 count=16 align=4 errorno=-12".into(),
            ),
            (
                Id::CmaRelease,
                &[S("pool"), N(0x40), N(0x800), N(3)],
                "name=pool pfn=0x40 page=0x800 count=3".into(),
            ),
            (
                Id::MmCompactionBegin,
                &[N(0x100), N(0x200), N(0x300), N(0x400), N(0)],
                "zone_start=0x100 migrate_pfn=0x200 free_pfn=0x300 zone_end=0x400, mode=async"
                    .into(),
            ),
            (
                Id::MmCompactionEnd,
                &[N(0x100), N(0x200), N(0x300), N(0x400), N(1), N(8)],
                "zone_start=0x100 migrate_pfn=0x200 free_pfn=0x300 zone_end=0x400, mode=sync \
                 status=success"
                    .into(),
            ),
            (
                Id::MmCompactionIsolateMigratepages,
                &[N(0x10), N(0x20), N(16), N(3)],
                "range=(0x10 ~ 0x20) nr_scanned=16 nr_taken=3".into(),
            ),
            (
                Id::MmCompactionIsolateFreepages,
                &[N(0x10), N(0x20), N(16), N(3)],
                "range=(0x10 ~ 0x20) nr_scanned=16 nr_taken=3".into(),
            ),
            (Id::MmCompactionMigratepages, &[N(32), N(1)], "nr_migrated=32 nr_failed=1".into()),
            (Id::MmVmscanKswapdWake, &[N(1), N(2), N(9)], "nid=1 order=9".into()),
            (
                Id::MmVmscanWakeupKswapd,
                &[N(0), N(1), N(2), gfp(Gfp::GFP_NOWAIT)],
                "nid=0 order=2 gfp_flags=GFP_NOWAIT".into(),
            ),
            (
                Id::PageFaultKernel,
                &[N(0xffff_0000_4000_0000), N(0xffff_8000_0000_1234), N(0x9600_0047)],
                "address=0xffff000040000000 ip=0xffff800000001234 error_code=0x96000047".into(),
            ),
        ] {
            assert_eq!(text(id, values), expected, "{id:?}");
            assert_eq!(values.len(), id.event().fields.len(), "{id:?}");
        }
    });
}

/// Flags without a name are printed as a number.
#[test]
fn flags_without_names_are_told_too() {
    use crate::mm::gfp::Gfp;
    let flags = u64::from(Gfp::GFP_NOWAIT.bits()) | 1 << 40;
    let values = [N(0), N(0), N(0), N(flags)];
    assert!(
        text(Id::MmVmscanWakeupKswapd, &values).ends_with("gfp_flags=GFP_NOWAIT|0x10000000000")
    );
    let values = [N(0), N(0), N(0), N(0), N(0), N(77)];
    assert!(text(Id::MmCompactionEnd, &values).ends_with("status=0x4d"));
}

/// A string that does not fit is cut, and a record keeps its bounds.
#[test]
fn a_long_string_is_cut() {
    let long = "ä".repeat(200);
    let mut record = [0; MAX_RECORD];
    let len = Id::CmaAllocStart.event().encode(&[S(&long), N(1), N(0)], &mut record);
    assert!(len <= MAX_RECORD && len.is_multiple_of(4));
    let told = Text(Id::CmaAllocStart.event(), &record[..len]).to_string();
    let name = told.strip_prefix("name=").unwrap().strip_suffix(" count=1 align=0").unwrap();
    assert!(name.len() > 80 && long.starts_with(name));
}

#[test]
fn formats_are_linuxs() {
    let place = Id::Kfree as usize;
    assert_eq!(
        Format(place).to_string(),
        format!(
            "name: kfree
ID: {}
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:unsigned long call_site;\toffset:8;\tsize:8;\tsigned:0;
\tfield:const void * ptr;\toffset:16;\tsize:8;\tsigned:0;

print fmt: \"call_site=%ps ptr=%p\", REC->call_site, REC->ptr
",
            event_id(place)
        )
    );
    let end = Format(Id::MmCompactionEnd as usize).to_string();
    assert!(end.contains("(REC->sync & 0x1) ? \"sync\" : \"async\", __print_symbolic(REC->status, { 0x1, \"skipped\" }, "));
    assert!(end.contains("\tfield:int status;\toffset:44;\tsize:4;\tsigned:1;\n"));
    let name = Format(Id::CmaRelease as usize).to_string();
    assert!(name.contains("\tfield:__data_loc char[] name;\toffset:8;\tsize:4;\tsigned:0;\n"));
    assert!(name.contains("\", __get_str(name), REC->pfn, "));
}

/// Fields lie one behind the other, each at a multiple of its size; names are there once.
#[test]
fn the_table_is_sound() {
    let mut names = HashSet::new();
    for (n, event) in EVENTS.iter().enumerate() {
        assert!(names.insert((event.system, event.name)));
        let mut end = event::COMMON;
        for (at, field) in event.layout() {
            assert!(
                at >= end && at.is_multiple_of(field.ty.size()),
                "{}.{}",
                event.name,
                field.name
            );
            end = at + field.ty.size();
        }
        let strings = event.fields.iter().filter(|field| field.ty == Type::Str).count();
        assert!(end + strings * 40 <= MAX_RECORD, "{}: {end}", event.name);
        assert_eq!(event.print.matches('%').count(), event.args.len(), "{}", event.name);
        assert_eq!(event::index(event_id(n)), Some(n));
    }
    assert_eq!(event::index(0), None);
}

fn event_of(id: u16) -> &'static Event {
    &EVENTS[event::index(id).unwrap()]
}
