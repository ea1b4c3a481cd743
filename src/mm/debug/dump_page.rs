//! A frame's descriptor in words (Linux: mm/debug.c).

use crate::addr::Order;
use crate::mm::page::{Frame, PageFlags};
use crate::mm::page_alloc::{State, pageblock_migratetype, state_of};
use crate::mm::slab::slab_of;
use core::fmt;

/// All that the descriptor of a frame says (Linux: dump_page). Exact while nobody changes it.
/// Any context.
pub struct PageDump(pub Frame);

impl fmt::Display for PageDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = self.0;
        let page = frame.page();
        let block = frame.align_down(Order::PAGEBLOCK);
        // Of a block's inside its head alone knows the zone.
        let zone = frame.zone();
        writeln!(
            f,
            "pfn {:#x}: phys {}, virt {}, descriptor at {:#x}",
            frame.pfn().get(),
            frame.phys(),
            frame.virt(),
            core::ptr::from_ref(page).addr()
        )?;
        writeln!(f, "  zone      Node {}, zone {}", zone.node().index(), zone.kind())?;
        let kind = pageblock_migratetype(frame);
        writeln!(f, "  pageblock {:#x}, {kind}", block.pfn().get())?;
        let state = state_of(frame);
        writeln!(f, "  state     {state}")?;
        if let State::Free { order, .. }
        | State::PerCpu { order, .. }
        | State::Allocated { order, .. } = state
        {
            writeln!(f, "  order     {}", order.get())?;
        }
        write!(f, "  flags     {:#x}", page.marks().bits())?;
        page.marks().names().try_for_each(|name| write!(f, " {name}"))?;
        writeln!(f, "\n  refcount  {}", page.refcount())?;
        if let Some(slab) = slab_of(frame) {
            return writeln!(
                f,
                "  slab      {}, {} of {} objects of {} bytes are out",
                slab.cache, slab.in_use, slab.objects, slab.object_size
            );
        }
        writeln!(f, "  mapcount  {}", page.mapcount())?;
        writeln!(f, "  private   {:#x}", page.private())?;
        if page.flags().contains(PageFlags::TAIL) {
            let head = page.prev().map_or(0, |head| head.pfn().get());
            writeln!(f, "  head      pfn {head:#x}")?;
        }
        match page.mapping() {
            Some(mapping) => {
                let (kind, object, index) = (mapping.kind(), mapping.object(), mapping.index());
                writeln!(f, "  mapping   {kind:?} {object:#x}, index {index:#x}")?;
                writeln!(f, "  user      {:?}", page.user_flags())
            }
            None => writeln!(f, "  owner     {:#x}", page.owner()),
        }
    }
}
