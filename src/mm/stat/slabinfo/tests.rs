//! Caches whose figures are known.

use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc;
use crate::mm::slab::{KmemCache, SlabFlags, kmem_cache_create, kmem_cache_init};
use std::format;
use std::string::ToString;
use std::vec::Vec;

#[test]
fn slabinfo_reads_as_in_linux() {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 16 << 20);
    Machine::run(&[ram], |m| {
        page_alloc::init(m.ram());
        kmem_cache_init(1);
        let text = SlabInfoFile.to_string();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("slabinfo - version: 2.1"));
        assert_eq!(
            lines.next(),
            Some(
                "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>"
            )
        );
        // Nothing was allocated: all caches are there all the same.
        assert!(
            lines.clone().count() > 10
                && lines.all(|line| line.ends_with(" : slabdata      0      0      0"))
        );
        let cache =
            kmem_cache_create("seven", 1000, 8, SlabFlags::NO_MERGE, None).expect("a cache");
        let objects: Vec<_> = (0..7).filter_map(|_| cache.alloc(Gfp::GFP_KERNEL)).collect();
        assert_eq!(objects.len(), 7);
        let info = cache.info();
        assert_eq!(info.total_objects, info.objects_per_slab * info.slabs);
        let line = format!(
            "seven                  7 {:>6}   1000 {:>4} {:>4} : tunables    0    0    0 : slabdata {:>6} {:>6}      0",
            info.total_objects, info.objects_per_slab, info.pages_per_slab, info.slabs, info.slabs
        );
        let text = SlabInfoFile.to_string();
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        // A cache of values takes them back.
        let typed = KmemCache::<[u64; 40]>::new("typed", SlabFlags::NO_MERGE).expect("a cache");
        let object = typed.alloc([7; 40], Gfp::GFP_KERNEL).expect("memory");
        assert!(SlabInfoFile.to_string().contains("\ntyped                  1 "));
        drop(object);
        assert!(SlabInfoFile.to_string().contains("\ntyped                  0 "));
    });
}
