//! Memory for the state of each node that has memory (Linux: alloc_node_data). The first node's
//! is part of the image.

use super::InitError;
use crate::mm::mmzone::{self, NodeData, NodeId};
use core::alloc::Layout;
use core::ptr::NonNull;

/// Gives each node that `nodes` names, and that has none yet, its state. `alloc` returns memory of
/// a layout, on the node if it can. At boot, before
/// [`free_area_init`](super::free_area_init) meets memory of another node than the first.
///
/// # Errors
/// [`InitError::NoMemory`] where `alloc` has none.
///
/// # Safety
/// What `alloc` returns is memory of the layout that lives for good and that nobody else uses. Other
/// CPUs are started later.
pub unsafe fn alloc_node_data(
    nodes: impl Iterator<Item = NodeId>,
    mut alloc: impl FnMut(NodeId, Layout) -> Option<NonNull<u8>>,
) -> Result<(), InitError> {
    for node in nodes {
        if NodeData::of(node).is_some() {
            continue;
        }
        let memory = alloc(node, Layout::new::<NodeData>()).ok_or(InitError::NoMemory)?;
        let data = memory.cast::<NodeData>();
        // SAFETY: memory for it, which is this node's alone for good.
        let data = unsafe {
            data.write(NodeData::new(node));
            data.as_ref()
        };
        // SAFETY: as the caller says.
        unsafe { mmzone::set_node_data(node, data) };
    }
    Ok(())
}

/// Checks that each node that `nodes` names has its state.
///
/// # Errors
/// [`InitError::NoZones`], with the first that has none.
pub(super) fn check(mut nodes: impl Iterator<Item = NodeId>) -> Result<(), InitError> {
    nodes
        .find(|&node| NodeData::of(node).is_none())
        .map_or(Ok(()), |node| Err(InitError::NoZones(node)))
}

/// Gives each node that `nodes` names, and that has none yet, its state on a hosted machine.
#[cfg(not(target_os = "none"))]
pub(super) fn of_hosted_machine(nodes: impl Iterator<Item = NodeId>) {
    use crate::machine_local;
    use std::sync::OnceLock;

    machine_local! {
        static NODES: [OnceLock<NodeData>; mmzone::MAX_NUMNODES] =
            [const { OnceLock::new() }; mmzone::MAX_NUMNODES];
    }
    for node in nodes {
        if NodeData::of(node).is_none() {
            let data = NODES.value()[node.index()].get_or_init(|| NodeData::new(node));
            // SAFETY: the threads of a hosted machine's other CPUs are started later.
            unsafe { mmzone::set_node_data(node, data) };
        }
    }
}
