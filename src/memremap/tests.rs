use super::*;
use crate::addr::PhysRange;
use crate::arch::pgtable::{KernelAttrs, MapFlags, MemoryType};
use crate::mm::vmalloc;
use crate::mm::vmalloc::tests::machine;

const WB: MemremapFlags = MemremapFlags::MEMREMAP_WB;
const WC: MemremapFlags = MemremapFlags::MEMREMAP_WC;

#[test]
fn ram_is_had_through_the_linear_map_and_other_memory_is_mapped() {
    machine(1024, |m| {
        let ram: PhysRange = m.ram()[0];
        let linear = layout::LINEAR.start() + ram.start().get() as usize;
        let linear = VirtRange::from_size(linear, ram.len() as usize);
        let flags = MapFlags::empty();
        init_mm::testing::map_range(linear, ram.start(), KernelAttrs::KERNEL, flags).unwrap();
        let inside = ram.start() + 0x1234;
        let memory = memremap(inside, 0x3000, WB | WC).unwrap();
        assert!(matches!(memory, MemRemap::Ram(at) if at == linear.start() + 0x1234));
        assert_eq!(vmalloc::vmallocinfo().count(), 0);
        memunmap(memory);
        assert_eq!(memremap(inside, 1, WC).unwrap_err(), IoremapError::Ram);
        // Half RAM, half nothing.
        let end = ram.end() - 0x1000;
        assert_eq!(memremap(end, 0x2000, WB).unwrap_err(), IoremapError::Ram);
        let other = PhysAddr::new(0x1000_0010);
        let memory = memremap(other, 8, WB).unwrap();
        let (pa, attrs) = init_mm::translate(memory.virt()).unwrap();
        assert_eq!((pa, attrs.memory()), (other, MemoryType::Normal));
        // Conflicting types are refused, another that was offered is not.
        assert_eq!(memremap(other, 8, WC).unwrap_err(), IoremapError::Conflict);
        memunmap(memory);
        let memory = memremap(other, 8, WC).unwrap();
        let second = memremap(other, 8, WB | WC).unwrap();
        let attrs = |m: &MemRemap| init_mm::translate(m.virt()).unwrap().1.memory();
        assert_eq!((attrs(&memory), attrs(&second)), (MemoryType::NormalNc, MemoryType::NormalNc));
        assert_eq!(memremap(other, 0, WB).unwrap_err(), IoremapError::Invalid);
        let nothing = MemremapFlags::empty();
        assert_eq!(memremap(other, 8, nothing).unwrap_err(), IoremapError::Invalid);
        assert!(memremap(PhysAddr::new(u64::MAX), 8, WB).is_err());
    });
}
