//! Coherent memory.

use super::*;

#[test]
fn coherent_memory_has_one_memory_type() {
    linear_machine(8192, |m| {
        let cpus = [CpuId::BOOT, CpuId::new(1).unwrap()];
        let stray = page();
        bytes(part(stray, 0, 4096)).fill(0xee);
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(stray, Order::ZERO) };
        let used = used_pages();
        let mut tables = 0;
        for round in 0..2 {
            let memory = dma_alloc_coherent(&ANY, 3 * PAGE_SIZE - 5, Gfp::GFP_KERNEL).unwrap();
            assert_eq!(memory.phys().len(), 3 * PAGE_SIZE as u64);
            assert_eq!(memory.dma_addr().get(), memory.phys().start().get());
            for n in 0..3 {
                let entry = init_mm::translate(memory.virt() + n * PAGE_SIZE).unwrap();
                assert_eq!(entry.1.memory(), MemoryType::NormalNc);
                assert_eq!(entry.0, memory.phys().start() + (n * PAGE_SIZE) as u64);
                let linear = layout::LINEAR.start() + entry.0.get() as usize;
                assert_eq!(init_mm::translate(linear), None, "a cacheable address");
            }
            assert!(!may_hold(memory.phys()), "a line was fetched ahead before it was hidden");
            // Reading it for a dump would go through the linear map.
            assert_eq!(crate::mm::vmalloc::tests::vread(memory.virt(), &mut [1; 64]), 0);
            // The zeros are in memory, where the device finds them.
            let at = memory.dma_addr();
            assert!(device_reads(&ANY, at, 3 * PAGE_SIZE).iter().all(|&byte| byte == 0));
            let linear = layout::LINEAR.start() + memory.phys().start().get() as usize;
            let virt = memory.virt();
            for cpu in cpus {
                assert!(m.mmu().access_by(cpu, virt, Access::Write).is_ok());
            }
            dma_free_coherent(memory);
            assert!(init_mm::translate(linear).is_some());
            for cpu in cpus {
                let access = m.mmu().access_by(cpu, virt, Access::Read);
                assert!(access.is_err(), "{cpu:?} has the memory as it was for the device");
            }
            crate::mm::vmalloc::shrink();
            // The tables of the split linear map stay.
            let left = used_pages() - used;
            assert!(round == 0 || left == tables, "{left} pages are lost");
            tables = left;
        }
        let snooping = DmaDevice { coherent: true, ..ANY };
        let memory = dma_alloc_coherent(&snooping, 100, Gfp::GFP_KERNEL).unwrap();
        assert_eq!(memory.virt(), phys_to_virt(memory.phys().start()));
        dma_free_coherent(memory);
        let nothing = DmaDevice { mask: 0xfff, ..ANY };
        let refused = dma_alloc_coherent(&nothing, 1, Gfp::GFP_KERNEL);
        assert_eq!(refused.unwrap_err(), DmaError::OutOfReach);
        assert_eq!(dma_alloc_coherent(&ANY, 0, Gfp::GFP_KERNEL).unwrap_err(), DmaError::Invalid);
        let refused = dma_alloc_coherent(&ANY, 1 << 40, Gfp::GFP_KERNEL | Gfp::__GFP_NOWARN);
        assert_eq!(refused.unwrap_err(), DmaError::NoMemory);
        assert_eq!(used_pages() - used, tables);
    });
}
