//! Small blocks of coherent memory, all of one size (Linux: mm/dmapool.c).
//!
//! A driver wants descriptors of tens of bytes, and [`dma_alloc_coherent`] gives pages. A pool
//! cuts each piece of coherent memory into blocks, and keeps it until the pool ends. Which
//! blocks are free is noted outside of them: a device that writes to a block which it has given
//! back destroys no list.
//!
//! Lock order: the lock of a pool is held for its notes alone; memory is allocated without it.
#![deny(unsafe_code)]

use super::{CoherentMemory, DmaAddr, DmaDevice, DmaError, dma_alloc_coherent, dma_free_coherent};
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::arch::irq::with_masked;
use crate::mm::alloc::KVec;
use crate::mm::gfp::Gfp;
use crate::sync::{Rank, SpinLock};
use arrayvec::ArrayString;
use core::fmt;

#[cfg(test)]
mod tests;

/// Bytes of a pool's name that are kept (Linux: dma_pool.name).
const MAX_NAME: usize = 32;
/// Bytes of the smallest block (Linux: sizeof(struct dma_block)).
const MIN_SIZE: usize = 16;
/// The most blocks of a piece of memory.
const MAX_BLOCKS: usize = PAGE_SIZE / MIN_SIZE;
/// The end of the list of pieces with a free block.
const NONE: u32 = u32::MAX;

/// Division of a piece of memory into blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shape {
    /// Bytes from one block to the next.
    size: usize,
    /// Bytes of a piece of memory.
    allocation: usize,
    /// No block crosses a multiple of it.
    boundary: usize,
}

impl Shape {
    /// The shape for blocks of `size` bytes at multiples of `align` that cross no multiple of
    /// `boundary`, 0 for any.
    fn new(size: usize, align: usize, boundary: usize) -> Option<Self> {
        let align = align.max(1);
        if size == 0 || !align.is_power_of_two() || boundary != 0 && !boundary.is_power_of_two() {
            return None;
        }
        let size = size.max(MIN_SIZE).checked_next_multiple_of(align)?;
        let allocation = size.checked_next_multiple_of(PAGE_SIZE)?;
        // A block of pages is all of its piece.
        let allocation = if size <= PAGE_SIZE { PAGE_SIZE } else { allocation };
        let boundary = if boundary == 0 { allocation } else { boundary };
        let fits = boundary >= size && i32::try_from(size).is_ok();
        fits.then(|| Self { size, allocation, boundary: boundary.min(allocation) })
    }

    /// Blocks between two multiples of the boundary.
    const fn per_boundary(self) -> usize {
        self.boundary / self.size
    }

    /// Blocks of a piece.
    const fn blocks(self) -> usize {
        // Behind the last whole stretch there may be room for a few more.
        let whole = self.allocation / self.boundary;
        let rest = self.allocation % self.boundary / self.size;
        whole * self.per_boundary() + rest
    }

    /// Offset of block `n` in a piece.
    const fn offset(self, n: usize) -> usize {
        n / self.per_boundary() * self.boundary + n % self.per_boundary() * self.size
    }
}

/// A piece of memory that is cut into blocks (Linux: struct dma_page).
struct Piece {
    memory: CoherentMemory,
    /// A bit for each block, set where it is allocated.
    used: [u64; MAX_BLOCKS / 64],
    free: u16,
    /// The next piece with a free block.
    next: u32,
}

impl Piece {
    fn take(&mut self, blocks: usize) -> Option<usize> {
        let n = (0..blocks).find(|n| self.used[n / 64] >> (n % 64) & 1 == 0)?;
        self.used[n / 64] |= 1 << (n % 64);
        self.free -= 1;
        Some(n)
    }
}

struct Pieces {
    all: KVec<Piece>,
    /// The first piece with a free block.
    first: u32,
}

/// Blocks of coherent memory for one device (Linux: struct dma_pool).
///
/// Dropped, it gives its memory back. Blocks borrow the pool, so none is left then; of a block
/// that was forgotten ([`core::mem::forget`]) the memory stays, with a line in the log, since
/// a device may still use it (Linux: dma_pool_destroy).
pub struct DmaPool<'d> {
    name: ArrayString<MAX_NAME>,
    device: DmaDevice<'d>,
    shape: Shape,
    pieces: SpinLock<Pieces>,
}

/// A block of a pool; dropped, it goes back (Linux: dma_pool_free). The device has stopped to use
/// it by then.
#[must_use = "the block goes back to its pool at once where it is not kept"]
pub struct DmaPoolBlock<'p> {
    pool: &'p DmaPool<'p>,
    piece: u32,
    block: u16,
    virt: VirtAddr,
    at: DmaAddr,
}

/// A pool's figures (Linux: the `pools` file of a device, mm/dmapool.c).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DmaPoolInfo {
    /// Blocks that are allocated.
    pub used: usize,
    /// Blocks that there are.
    pub blocks: usize,
    /// Bytes of a block.
    pub size: usize,
    /// Pages that hold them.
    pub pages: usize,
}

impl<'d> DmaPool<'d> {
    /// A pool of blocks of `size` bytes for `device`, each at a multiple of `align` (a power of
    /// 2, or 0), and none of them across a multiple of `boundary` (a power of 2, at least `size`;
    /// 0 for any). It has no memory yet. Any context (Linux: dma_pool_create).
    ///
    /// # Errors
    /// [`DmaError::Invalid`] for no bytes, for more than 2 GiB, and for another alignment or
    /// boundary.
    pub fn create(
        name: &str,
        device: &DmaDevice<'d>,
        size: usize,
        align: usize,
        boundary: usize,
    ) -> Result<Self, DmaError> {
        let shape = Shape::new(size, align, boundary).ok_or(DmaError::Invalid)?;
        let mut kept = ArrayString::new();
        for c in name.chars() {
            if kept.try_push(c).is_err() {
                break;
            }
        }
        let pieces = Pieces { all: KVec::new(), first: NONE };
        let pieces = SpinLock::new(Rank::Vmap, pieces);
        Ok(Self { name: kept, device: *device, shape, pieces })
    }

    /// Allocates a block; what it holds is whatever was there, but zeros with `__GFP_ZERO`. Any
    /// context while a block is free, else as [`dma_alloc_coherent`] (Linux: dma_pool_alloc).
    ///
    /// # Errors
    /// As [`dma_alloc_coherent`].
    pub fn alloc(&self, gfp: Gfp) -> Result<DmaPoolBlock<'_>, DmaError> {
        let block = match self.take() {
            Some(block) => block,
            None => self.grow(gfp)?,
        };
        if gfp.contains(Gfp::__GFP_ZERO) {
            block.clear();
        }
        Ok(block)
    }

    /// [`DmaPool::alloc`], filled with zeros (Linux: dma_pool_zalloc).
    ///
    /// # Errors
    /// As [`DmaPool::alloc`].
    pub fn zalloc(&self, gfp: Gfp) -> Result<DmaPoolBlock<'_>, DmaError> {
        self.alloc(gfp | Gfp::__GFP_ZERO)
    }

    /// Name of the pool.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Statistics of the pool. Any context.
    #[must_use]
    pub fn info(&self) -> DmaPoolInfo {
        let (pieces, free) = with_masked(|irq| {
            let pieces = self.pieces.lock(irq);
            let free: usize = pieces.all.iter().map(|piece| usize::from(piece.free)).sum();
            (pieces.all.len(), free)
        });
        let blocks = pieces * self.shape.blocks();
        DmaPoolInfo {
            used: blocks - free,
            blocks,
            size: self.shape.size,
            pages: pieces * self.shape.allocation / PAGE_SIZE,
        }
    }

    fn block(&self, piece: u32, n: usize, memory: &CoherentMemory) -> DmaPoolBlock<'_> {
        let offset = self.shape.offset(n);
        DmaPoolBlock {
            pool: self,
            piece,
            block: n as u16,
            virt: memory.virt() + offset,
            at: DmaAddr::new(memory.dma_addr().get() + offset as u64),
        }
    }

    /// A block of those that are free.
    fn take(&self) -> Option<DmaPoolBlock<'_>> {
        with_masked(|irq| {
            let mut pieces = self.pieces.lock(irq);
            let number = pieces.first;
            let piece = pieces.all.get_mut(number as usize)?;
            let n = piece.take(self.shape.blocks())?;
            let block = self.block(number, n, &piece.memory);
            if piece.free == 0 {
                pieces.first = piece.next;
            }
            Some(block)
        })
    }

    /// Adds a piece of memory, and takes a block of it.
    fn grow(&self, gfp: Gfp) -> Result<DmaPoolBlock<'_>, DmaError> {
        let mut memory =
            Some(dma_alloc_coherent(&self.device, self.shape.allocation, gfp - Gfp::__GFP_ZERO)?);
        loop {
            // Room for the notes comes without the lock.
            let have = with_masked(|irq| self.pieces.lock(irq).all.capacity());
            let added = with_masked(|irq| {
                let mut pieces = self.pieces.lock(irq);
                let number = pieces.all.len();
                if number == pieces.all.capacity() {
                    return None;
                }
                let mut piece = Piece {
                    memory: memory.take()?,
                    used: [0; MAX_BLOCKS / 64],
                    free: self.shape.blocks() as u16,
                    next: pieces.first,
                };
                let n = piece.take(self.shape.blocks())?;
                let block = self.block(number as u32, n, &piece.memory);
                if piece.free > 0 {
                    pieces.first = number as u32;
                }
                pieces.all.push_within_capacity(piece).ok();
                Some(block)
            });
            if let Some(block) = added {
                return Ok(block);
            }
            let room = KVec::with_capacity((2 * have).max(4), gfp - Gfp::__GFP_ZERO);
            let Ok(mut room) = room else {
                memory.into_iter().for_each(dma_free_coherent);
                return Err(DmaError::NoMemory);
            };
            // The old notes are dropped without the lock.
            let _old = with_masked(|irq| {
                let mut pieces = self.pieces.lock(irq);
                if room.capacity() <= pieces.all.capacity() {
                    return room;
                }
                let mut old = core::mem::take(&mut pieces.all);
                // In their order: numbers are places.
                while let Some(piece) = old.pop() {
                    room.push_within_capacity(piece).ok();
                }
                room.as_mut_slice().reverse();
                pieces.all = room;
                old
            });
        }
    }

    fn put(&self, number: u32, block: u16) {
        let n = usize::from(block);
        with_masked(|irq| {
            let mut pieces = self.pieces.lock(irq);
            let first = pieces.first;
            let piece = &mut pieces.all[number as usize];
            let was = piece.used[n / 64] >> (n % 64) & 1;
            assert!(was == 1, "dma pool {}: block {n} of piece {number} is free", self.name);
            piece.used[n / 64] &= !(1 << (n % 64));
            piece.free += 1;
            if piece.free == 1 {
                piece.next = first;
                pieces.first = number;
            }
        });
    }
}

impl Drop for DmaPool<'_> {
    fn drop(&mut self) {
        let blocks = self.shape.blocks();
        let pieces = with_masked(|irq| core::mem::take(&mut self.pieces.lock(irq).all));
        for piece in pieces {
            // Coherent memory that is not freed stays.
            if usize::from(piece.free) == blocks {
                dma_free_coherent(piece.memory);
            } else {
                let used = blocks - usize::from(piece.free);
                let (name, at) = (&self.name, piece.memory.phys());
                log::warn!("dma pool {name}: {used} blocks at {at:?} are in use, and stay");
            }
        }
    }
}

impl fmt::Debug for DmaPool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DmaPool({}, {:?})", self.name, self.info())
    }
}

impl DmaPoolBlock<'_> {
    /// Returns the CPU address of the block.
    #[must_use]
    pub const fn virt(&self) -> VirtAddr {
        self.virt
    }
    /// Returns the bus address of the block.
    #[must_use]
    pub const fn dma_addr(&self) -> DmaAddr {
        self.at
    }
    /// Size of the block in bytes: as many as were asked for, or a few more.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no block is empty")]
    pub const fn len(&self) -> usize {
        self.pool.shape.size
    }

    /// Fills the block with zeros.
    fn clear(&self) {
        let offset = self.pool.shape.offset(usize::from(self.block));
        with_masked(|irq| {
            let mut pieces = self.pool.pieces.lock(irq);
            pieces.all[self.piece as usize].memory.clear(offset, self.pool.shape.size);
        });
    }
}

impl Drop for DmaPoolBlock<'_> {
    fn drop(&mut self) {
        self.pool.put(self.piece, self.block);
    }
}

impl fmt::Debug for DmaPoolBlock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DmaPoolBlock({}, {} bytes at {})", self.pool.name, self.len(), self.at)
    }
}
