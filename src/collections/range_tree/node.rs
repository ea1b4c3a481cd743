//! Node of a range tree: up to [`FANOUT`] entries, whose order is kept in one word.
//!
//! An entry lies in a place that it keeps while it is there. The order of the places is a
//! permutation of 15 numbers of 4 bits: to insert or remove an entry changes that word, and no
//! entry moves. A search needs no order: it counts the entries that are not above. (Masstree: Mao, Kohler and Morris, "Cache craftiness for fast multicore key-value
//! storage", EuroSys 2012, section 4.6.2.)

/// Entries of a node at most: as many as numbers of 4 bits fit in a word beside their count.
pub(super) const FANOUT: usize = 15;
/// Bits of a value.
pub(super) const VALUE_BITS: u32 = 28;

/// Largest value: one less than what fits, so that no entry looks like a free place.
pub(super) const MAX_VALUE: u32 = (1 << VALUE_BITS) - 2;

/// Word of a free place, above that of any entry.
const FREE: u64 = u64::MAX;

/// Returns a mask of the lowest `bits` bits, 1 to 64.
const fn low(bits: usize) -> u64 {
    u64::MAX >> (64 - bits)
}

/// The number of entries, in the lowest 4 bits, and above it the place of each in order. The
/// places behind those of the entries are free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Permutation(u64);

impl Permutation {
    /// All places are free.
    const EMPTY: Self = Self(0xedcb_a987_6543_2100);

    #[inline(always)]
    const fn len(self) -> usize {
        (self.0 & 15) as usize
    }

    #[inline(always)]
    const fn place(self, index: usize) -> usize {
        (self.0 >> (4 * index + 4) & 15) as usize
    }

    /// Makes a free place that of entry `index`, and the entries from there on come one later.
    /// Returns the place. There are fewer than [`FANOUT`].
    fn insert(&mut self, index: usize) -> usize {
        let (Self(old), place) = (*self, self.place(self.len()));
        let (from, to) = (4 * index + 4, 4 * self.len() + 8);
        let moved = (old & low(to - 4) & !low(from)) << 4;
        self.0 = (old & !low(to) | moved | (place as u64) << from | old & low(from)) + 1;
        place
    }

    /// Makes the place of entry `index` free, and the entries after it come one earlier.
    fn remove(&mut self, index: usize) {
        let (Self(old), place) = (*self, self.place(index));
        let (from, to) = (4 * index + 4, 4 * self.len() + 4);
        let moved = (old & low(to) & !low(from + 4)) >> 4;
        self.0 = (old & !low(to) | moved | (place as u64) << (to - 4) | old & low(from)) - 1;
    }
}

/// An entry of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    /// First page of a range, or of a child's part of the space.
    pub first: u64,
    /// Value of the range, or number of the child.
    pub value: u32,
    /// End of a range; of a child, an upper bound of the largest gap in its part.
    pub extra: u64,
}

/// See the module's documentation.
pub(super) struct Node {
    order: Permutation,
    /// First page and value of each entry; [`FREE`] in a place that is free.
    words: [u64; FANOUT],
    extra: [u64; FANOUT],
}

impl Node {
    pub const EMPTY: Self =
        Self { order: Permutation::EMPTY, words: [FREE; FANOUT], extra: [0; FANOUT] };

    /// Number of entries.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// First page of entry `index`.
    #[inline(always)]
    pub fn first(&self, index: usize) -> u64 {
        self.words[self.order.place(index)] >> VALUE_BITS
    }

    /// Value of entry `index`.
    #[inline(always)]
    pub fn value(&self, index: usize) -> u32 {
        (self.words[self.order.place(index)] & low(VALUE_BITS as usize)) as u32
    }

    /// End or bound of entry `index`.
    #[inline(always)]
    pub fn extra(&self, index: usize) -> u64 {
        self.extra[self.order.place(index)]
    }

    /// Entry `index`.
    #[inline(always)]
    pub fn slot(&self, index: usize) -> Slot {
        Slot { first: self.first(index), value: self.value(index), extra: self.extra(index) }
    }

    /// All entries in order.
    #[inline(always)]
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slots_from(0)
    }

    /// The entries from entry `index` on, in order.
    #[inline(always)]
    pub fn slots_from(&self, index: usize) -> impl Iterator<Item = Slot> {
        let mut places = self.order.0 >> (4 * index);
        (index..self.len()).map(move |_| {
            places >>= 4;
            let place = (places & 15) as usize;
            let word = self.words[place];
            let value = (word & low(VALUE_BITS as usize)) as u32;
            Slot { first: word >> VALUE_BITS, value, extra: self.extra[place] }
        })
    }

    /// Returns the last entry that begins at `page` or below; 0 if there is none.
    #[inline(always)]
    pub fn floor(&self, page: u64) -> usize {
        let limit = page << VALUE_BITS | u64::from(MAX_VALUE);
        let below: usize = self.words.iter().map(|&word| usize::from(word <= limit)).sum();
        below.saturating_sub(1)
    }

    /// Inserts an entry before entry `index`. There are fewer than [`FANOUT`].
    pub fn insert(&mut self, index: usize, slot: Slot) {
        let place = self.order.insert(index);
        self.words[place] = slot.first << VALUE_BITS | u64::from(slot.value);
        self.extra[place] = slot.extra;
    }

    /// Removes entry `index`.
    pub fn remove(&mut self, index: usize) {
        self.words[self.order.place(index)] = FREE;
        self.order.remove(index);
    }

    /// Moves the entries from `index` on behind those of `to`, which has room for them.
    pub fn move_tail(&mut self, index: usize, to: &mut Self) {
        while self.len() > index {
            to.insert(to.len(), self.slot(index));
            self.remove(index);
        }
    }

    /// Lets entry `index` begin at `first`.
    pub fn set_first(&mut self, index: usize, first: u64) {
        let word = &mut self.words[self.order.place(index)];
        *word = first << VALUE_BITS | *word & low(VALUE_BITS as usize);
    }

    /// Sets the end or bound of entry `index`.
    pub fn set_extra(&mut self, index: usize, extra: u64) {
        self.extra[self.order.place(index)] = extra;
    }

    /// Returns true if each place is that of one entry, or free and marked so.
    pub fn is_permutation(&self) -> bool {
        let places = (0..FANOUT).map(|index| (index, self.order.place(index)));
        let is_marked =
            |(index, place): (usize, usize)| (self.words[place] == FREE) == (index >= self.len());
        places.clone().all(is_marked)
            && places.fold(0, |seen, (_, place)| seen | 1 << place) == low(FANOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn nodes_are_sorted_lists(ops in prop::collection::vec((any::<bool>(), 0usize..16), 0..80)) {
            let (mut node, mut model) = (Node::EMPTY, Vec::new());
            for (n, (inserts, at)) in ops.into_iter().enumerate() {
                if inserts && model.len() < FANOUT {
                    let at = at.min(model.len());
                    let slot = Slot { first: n as u64, value: (!(n as u32) & 0xfff_ffff).min(MAX_VALUE), extra: 1 << (n % 64) };
                    node.insert(at, slot);
                    model.insert(at, slot);
                } else if at < model.len() {
                    node.remove(at);
                    model.remove(at);
                }
                prop_assert!(node.is_permutation());
                prop_assert_eq!(node.slots().collect::<Vec<_>>(), model.clone());
            }
            let mut to = Node::EMPTY;
            let at = model.len() / 2;
            node.move_tail(at, &mut to);
            prop_assert_eq!(to.slots().collect::<Vec<_>>(), model.split_off(at));
            prop_assert_eq!(node.slots().collect::<Vec<_>>(), model);
        }

        #[test]
        fn floor_is_the_last_that_is_not_above(
            firsts in prop::collection::btree_set(0u64..100, 1..=FANOUT), page in 0u64..100
        ) {
            let mut node = Node::EMPTY;
            for &first in &firsts {
                node.insert(node.len(), Slot { first, value: MAX_VALUE, extra: 0 });
            }
            let below = firsts.iter().filter(|&&first| first <= page).count();
            prop_assert_eq!(node.floor(page), below.saturating_sub(1));
        }
    }
}
