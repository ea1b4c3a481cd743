//! The root file system, from the initrd that the boot loader left (Linux: init/initramfs.c,
//! populate_rootfs).

use super::Boot;
use crate::arch;
use crate::errno::Errno;
use crate::fs::{initramfs, mounts};
use crate::mm::page_alloc;
use log::{error, info};

/// Mounts a root file system, unpacks the initrd into it, mounts `/proc`, `/sys`, `/dev` and
/// `/dev/shm`, and frees the initrd's memory. An initrd that can't be unpacked is an error in the
/// log, and what of it was unpacked stays. Once, in process context.
///
/// # Errors
/// `EBUSY` the second time; `ENOMEM`.
pub fn populate_rootfs(boot: &Boot) -> Result<(), Errno> {
    mounts::mount_root()?;
    if let Some((initrd, can_be_freed)) = boot.initrd {
        let at = arch::phys_to_virt(initrd.start()).get();
        let bytes = core::ptr::with_exposed_provenance::<u8>(at);
        // SAFETY: the scan of the device tree found that it is RAM in the linear map, and reserved
        // it; the root file system was mounted just now, so nobody has freed it yet.
        let bytes = unsafe { core::slice::from_raw_parts(bytes, initrd.len() as usize) };
        info!("Unpacking initramfs...");
        mounts::as_kernel(|caller| {
            match initramfs::unpack(caller, bytes) {
                Ok(unpacked) => info!(
                    "initramfs: {} entries, {} bytes, {} left out",
                    unpacked.entries, unpacked.bytes, unpacked.skipped
                ),
                Err(why) => error!("Initramfs unpacking failed: {why}"),
            }
            Ok(())
        })?;
        let pages = initrd.whole_pages();
        if can_be_freed && !pages.is_empty() {
            // SAFETY: RAM of the linear map that nothing else lies in, and whose bytes were read
            // for the last time.
            let freed = unsafe { page_alloc::free_reserved_area(pages) };
            info!("Freeing initrd memory: {}K", freed * 4);
        }
    }
    mounts::as_kernel(mounts::mount_defaults)
}
