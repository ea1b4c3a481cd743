//! Makes small trees.

use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

/// A tree under construction. The root is open from the start and closed by
/// [`Builder::blob`].
pub(crate) struct Builder {
    structure: Vec<u8>,
    strings: Vec<u8>,
    names: BTreeMap<String, u32>,
    reservations: Vec<(u64, u64)>,
}

impl Builder {
    /// A root with these numbers of cells.
    pub(crate) fn new(address_cells: u32, size_cells: u32) -> Self {
        let this = Self {
            structure: Vec::new(),
            strings: Vec::new(),
            names: BTreeMap::new(),
            reservations: Vec::new(),
        };
        this.open("").cells("#address-cells", &[address_cells]).cells("#size-cells", &[size_cells])
    }

    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn pad(&mut self) {
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    pub(crate) fn open(mut self, name: &str) -> Self {
        self.word(1);
        self.structure.extend(name.as_bytes());
        self.structure.push(0);
        self.pad();
        self
    }

    pub(crate) fn close(mut self) -> Self {
        self.word(2);
        self
    }

    pub(crate) fn nop(mut self) -> Self {
        self.word(4);
        self
    }

    pub(crate) fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        let next = self.strings.len() as u32;
        let offset = *self.names.entry(name.into()).or_insert(next);
        if offset == next {
            self.strings.extend(name.as_bytes());
            self.strings.push(0);
        }
        self.word(3);
        self.word(value.len() as u32);
        self.word(offset);
        self.structure.extend(value);
        self.pad();
        self
    }

    pub(crate) fn cells(self, name: &str, cells: &[u32]) -> Self {
        let value: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.bytes(name, &value)
    }

    /// 64-bit numbers, two cells each.
    pub(crate) fn longs(self, name: &str, numbers: &[u64]) -> Self {
        let value: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        self.bytes(name, &value)
    }

    pub(crate) fn string(self, name: &str, value: &str) -> Self {
        let mut bytes = Vec::from(value.as_bytes());
        bytes.push(0);
        self.bytes(name, &bytes)
    }

    pub(crate) fn flag(self, name: &str) -> Self {
        self.bytes(name, &[])
    }

    /// A memory node of 64-bit base and size.
    pub(crate) fn memory(self, name: &str, reg: &[u64]) -> Self {
        self.open(name).string("device_type", "memory").longs("reg", reg).close()
    }

    pub(crate) fn reserve(mut self, base: u64, size: u64) -> Self {
        self.reservations.push((base, size));
        self
    }

    /// The blob. All nodes but the root have to be closed.
    pub(crate) fn blob(mut self) -> Vec<u8> {
        self.word(2);
        self.word(9);
        let reservations = 40;
        let structure = reservations + 16 * (self.reservations.len() + 1);
        let strings = structure + self.structure.len();
        let total = strings + self.strings.len();
        let mut blob = Vec::new();
        for word in [0xd00d_feed, total, structure, strings, reservations, 17, 16, 0] {
            blob.extend((word as u32).to_be_bytes());
        }
        for size in [self.strings.len(), self.structure.len()] {
            blob.extend((size as u32).to_be_bytes());
        }
        for (base, size) in self.reservations.into_iter().chain([(0, 0)]) {
            blob.extend(base.to_be_bytes());
            blob.extend(size.to_be_bytes());
        }
        blob.extend(self.structure);
        blob.extend(self.strings);
        blob
    }
}
