//! The entries of a directory, by name and in the order of their creation.
//!
//! Each entry has a cookie that grows from entry to entry, by which getdents64 goes on where it
//! stopped whatever came or went meanwhile (Linux: simple_offset_add). Names are found by a table
//! of positions with open addressing. What was removed stays as a hole until the arrays are full;
//! then the rest moves to new ones, which are made outside of the lock.
#![deny(unsafe_code)]

use crate::fs::vfs::Dentry;
use crate::mm::alloc::{AllocError, KArc, KVVec};
use crate::mm::gfp::Gfp;

/// First cookie: those below are of `.` and `..`.
pub(super) const FIRST_COOKIE: u64 = 2;

struct Entry {
    cookie: u64,
    hash: u32,
    dentry: Option<KArc<Dentry>>,
}

/// Entries of a directory. See the module's documentation.
pub(super) struct DirMap {
    /// Entries in the order of their cookies.
    entries: KVVec<Entry>,
    /// Positions in `entries` plus one; 0 is empty. Twice as many as entries fit, so that a search
    /// ends.
    table: KVVec<u32>,
    live: usize,
    next_cookie: u64,
}

/// A number for a name (FNV-1a).
fn hash(name: &[u8]) -> u32 {
    let step = |hash: u32, &byte: &u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = name.iter().fold(0x811c_9dc5, step);
    hash ^ hash >> 15
}

impl DirMap {
    /// No entries, and no memory.
    pub const fn new() -> Self {
        Self { entries: KVVec::new(), table: KVVec::new(), live: 0, next_cookie: FIRST_COOKIE }
    }

    /// Number of entries.
    pub const fn len(&self) -> usize {
        self.live
    }

    /// Number of entries that fit without new memory.
    pub fn room(&self) -> usize {
        self.entries.capacity() - self.entries.len()
    }

    /// An empty map with room for `live` entries and as many again, for [`DirMap::absorb`].
    ///
    /// # Errors
    /// Memory is short.
    pub fn with_room(live: usize) -> Result<Self, AllocError> {
        let capacity = (2 * live + 2).next_power_of_two().max(4);
        let entries = KVVec::with_capacity(capacity, Gfp::GFP_KERNEL)?;
        let table = KVVec::from_elem(0, 2 * capacity, Gfp::GFP_KERNEL)?;
        Ok(Self { entries, table, live: 0, next_cookie: FIRST_COOKIE })
    }

    /// Moves the entries of `old` here, where they fit. Returns false if they don't.
    pub fn absorb(&mut self, old: &mut Self) -> bool {
        if self.room() <= old.live {
            return false;
        }
        for entry in old.entries.as_mut_slice() {
            if let Some(dentry) = entry.dentry.take() {
                self.push(entry.cookie, entry.hash, dentry);
            }
        }
        self.next_cookie = old.next_cookie;
        old.live = 0;
        true
    }

    fn push(&mut self, cookie: u64, hash: u32, dentry: KArc<Dentry>) {
        let entry = Entry { cookie, hash, dentry: Some(dentry) };
        if self.entries.push_within_capacity(entry).is_err() {
            panic!("a directory has no room for an entry");
        }
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        while self.table[at] != 0 {
            at = (at + 1) & mask;
        }
        self.table[at] = self.entries.len() as u32;
        self.live += 1;
    }

    /// Adds an entry, whose name is not there.
    ///
    /// # Panics
    /// There is no [`room`](DirMap::room).
    pub fn insert(&mut self, dentry: KArc<Dentry>) {
        let hash = dentry.with_name(hash);
        self.push(self.next_cookie, hash, dentry);
        self.next_cookie += 1;
    }

    /// Position of the entry with a name.
    fn position(&self, name: &[u8]) -> Option<usize> {
        let mask = self.table.len().checked_sub(1)?;
        let hash = hash(name);
        let mut at = hash as usize & mask;
        loop {
            let position = self.table[at].checked_sub(1)? as usize;
            let entry = &self.entries[position];
            if entry.hash == hash
                && let Some(dentry) = &entry.dentry
                && dentry.with_name(|there| there == name)
            {
                return Some(position);
            }
            at = (at + 1) & mask;
        }
    }

    /// The entry with a name.
    pub fn find(&self, name: &[u8]) -> Option<&KArc<Dentry>> {
        self.entries[self.position(name)?].dentry.as_ref()
    }

    /// Takes the entry with a name out.
    pub fn remove(&mut self, name: &[u8]) -> Option<KArc<Dentry>> {
        let position = self.position(name)?;
        self.live -= 1;
        self.entries.as_mut_slice()[position].dentry.take()
    }

    /// The first entry whose cookie is `from` or above.
    pub fn next(&self, from: u64) -> Option<(u64, &KArc<Dentry>)> {
        let first = self.entries.partition_point(|entry| entry.cookie < from);
        self.entries[first..].iter().find_map(|entry| Some((entry.cookie, entry.dentry.as_ref()?)))
    }

    /// Takes the last entry out.
    pub fn pop(&mut self) -> Option<KArc<Dentry>> {
        while let Some(entry) = self.entries.pop() {
            if let Some(dentry) = entry.dentry {
                self.live -= 1;
                return Some(dentry);
            }
        }
        None
    }
}
