//! The parts of a tree, to be mutated and put together again.

use super::{Mutation, NODES, PROPERTIES, Value};
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

/// A token with what belongs to it.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Begin(Vec<u8>),
    End,
    Prop(Vec<u8>, Vec<u8>),
    Nop,
}

/// A tree in parts, to be put together again in any order.
pub(super) struct Parts {
    parts: Vec<Part>,
    reservations: Vec<u8>,
}

impl Parts {
    /// The parts of a blob, if it has any; together they need not make a tree.
    pub(super) fn of(blob: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = blob.get(at..at.checked_add(4)?)?;
            Some(u32::from_be_bytes(bytes.try_into().unwrap()) as usize)
        };
        let text = |at: usize| {
            let rest = blob.get(at..)?;
            Some(&rest[..rest.iter().position(|&byte| byte == 0)?])
        };
        let (structure, strings, map) = (word(8)?, word(12)?, word(16)?);
        let entries = blob.get(map..)?.chunks_exact(16).take_while(|entry| entry[8..] != [0; 8]);
        let reservations = entries.take(2000).flatten().copied().collect();
        let (mut parts, mut at) = (Vec::new(), structure);
        loop {
            let token = word(at)?;
            at += 4;
            match token {
                1 => {
                    let name = text(at)?;
                    at = (at + name.len() + 1).next_multiple_of(4);
                    parts.push(Part::Begin(name.to_vec()));
                }
                2 => parts.push(Part::End),
                3 => {
                    let name = text(strings.checked_add(word(at + 4)?)?)?;
                    let end = (at + 8).checked_add(word(at)?)?;
                    parts.push(Part::Prop(name.to_vec(), blob.get(at + 8..end)?.to_vec()));
                    at = end.next_multiple_of(4);
                }
                4 => parts.push(Part::Nop),
                9 if parts.is_empty() => return None,
                9 => return Some(Self { parts, reservations }),
                _ => return None,
            }
        }
    }

    /// The blob of what the parts are now.
    pub(super) fn blob(&self) -> Vec<u8> {
        let (mut structure, mut strings) = (Vec::new(), Vec::new());
        let mut names = BTreeMap::new();
        let word = |to: &mut Vec<u8>, word: usize| to.extend((word as u32).to_be_bytes());
        for part in &self.parts {
            match part {
                Part::Begin(name) => {
                    word(&mut structure, 1);
                    structure.extend(name);
                    structure.push(0);
                }
                Part::End => word(&mut structure, 2),
                Part::Prop(name, value) => {
                    let at = *names.entry(name).or_insert_with(|| {
                        let at = strings.len();
                        strings.extend(name);
                        strings.push(0);
                        at
                    });
                    word(&mut structure, 3);
                    word(&mut structure, value.len());
                    word(&mut structure, at);
                    structure.extend(value);
                }
                Part::Nop => word(&mut structure, 4),
            }
            structure.resize(structure.len().next_multiple_of(4), 0);
        }
        word(&mut structure, 9);
        let at = 40 + self.reservations.len() + 16;
        let total = at + structure.len() + strings.len();
        let mut blob = Vec::new();
        for number in [0xd00d_feed, total, at, at + structure.len(), 40, 17, 16, 0] {
            word(&mut blob, number);
        }
        word(&mut blob, strings.len());
        word(&mut blob, structure.len());
        blob.extend(&self.reservations);
        blob.extend([0; 16]);
        blob.extend(structure);
        blob.extend(strings);
        blob
    }

    /// The indices of parts of one kind.
    fn all(&self, kind: fn(&Part) -> bool) -> Vec<usize> {
        (0..self.parts.len()).filter(|&at| kind(&self.parts[at])).collect()
    }

    /// The `which`th node that is not the root: from its begin to after its end.
    fn node(&self, which: usize) -> Option<(usize, usize)> {
        let begins = self.all(|part| matches!(part, Part::Begin(_)));
        let start = *begins.get(1 + which % begins.len().checked_sub(1).filter(|&n| n > 0)?)?;
        let mut depth = 0;
        for (at, part) in self.parts.iter().enumerate().skip(start) {
            match part {
                Part::Begin(_) => depth += 1,
                Part::End => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some((start, at + 1));
            }
        }
        None
    }

    /// The `which`th property.
    fn property(&mut self, which: usize) -> Option<&mut Vec<u8>> {
        let all = self.all(|part| matches!(part, Part::Prop(..)));
        match self.parts.get_mut(*all.get(which % all.len().max(1))?)? {
            Part::Prop(_, value) => Some(value),
            _ => None,
        }
    }

    /// Returns the offset at which a child of the root may stand: after the root's properties.
    fn first_child(&self) -> usize {
        let begins = self.all(|part| matches!(part, Part::Begin(_)));
        begins.get(1).copied().unwrap_or(self.parts.len().saturating_sub(1))
    }

    fn insert(&mut self, at: usize, parts: impl IntoIterator<Item = Part>) {
        self.parts.splice(at..at, parts);
    }

    /// Applies a change of structure; one that nothing fits changes nothing.
    pub(super) fn mutate(&mut self, mutation: &Mutation) -> Option<()> {
        let prop = |name: &str, value: &[u8]| Part::Prop(name.into(), value.to_vec());
        let longs = |numbers: &[u64]| Value::Numbers(numbers.to_vec()).bytes();
        let count = self.parts.len();
        match *mutation {
            Mutation::Token(from, to) => self.parts.swap(from % count, to % count),
            Mutation::Drop(at) => drop(self.parts.remove(at % count)),
            Mutation::Nop(at, many) => self.insert(at % count, vec![Part::Nop; many]),
            Mutation::Repeat(which, times) => {
                let (start, end) = self.node(which)?;
                let node = self.parts[start..end].to_vec();
                let times = times.min(4000 / node.len()).max(1);
                self.insert(end, node.iter().cloned().cycle().take(node.len() * times));
            }
            Mutation::Splice(from, to) => {
                let (start, end) = self.node(from)?;
                let node: Vec<Part> = self.parts.drain(start..end).collect();
                let place = self.node(to).map_or(self.first_child(), |(start, _)| start);
                self.insert(place, node);
            }
            Mutation::Remove(which) => {
                let (start, end) = self.node(which)?;
                self.parts.drain(start..end);
            }
            Mutation::Rename(which, name) => {
                let (start, _) = self.node(which)?;
                self.parts[start] = Part::Begin(NODES[name % NODES.len()].into());
            }
            Mutation::Nest(which, depth) => {
                let (start, end) = self.node(which)?;
                self.insert(end, vec![Part::End; depth]);
                self.insert(start, vec![Part::Begin(b"n".to_vec()); depth]);
            }
            Mutation::Set(which, name, ref value) => {
                let begins = self.all(|part| matches!(part, Part::Begin(_)));
                let node = *begins.get(which % begins.len().max(1))?;
                let name = PROPERTIES[name % PROPERTIES.len()].as_bytes();
                let head =
                    self.parts[node + 1..].iter().take_while(|p| matches!(p, Part::Prop(..)));
                let there =
                    head.into_iter().position(|p| matches!(p, Part::Prop(n, _) if n == name));
                match there {
                    Some(at) => self.parts[node + 1 + at] = Part::Prop(name.into(), value.bytes()),
                    None => self.insert(node + 1, [Part::Prop(name.into(), value.bytes())]),
                }
            }
            Mutation::Resize(which, length) => self.property(which)?.resize(length, 0xa5),
            Mutation::Multiply(which, times) => {
                let value = self.property(which)?;
                *value = value.repeat(times.min(20_000 / value.len().max(1)));
            }
            Mutation::Number(which, at, number) => {
                let value = self.property(which)?;
                let at = at % value.len().max(1) / 4 * 4;
                value.get_mut(at..at + 8)?.copy_from_slice(&number.to_be_bytes());
            }
            Mutation::Memory(base, size, nid) => {
                let at = self.first_child();
                let mut node = vec![Part::Begin(b"memory".to_vec())];
                node.push(prop("device_type", b"memory\0"));
                node.push(prop("reg", &longs(&[base, size])));
                if nid < 5 {
                    node.push(prop("numa-node-id", &nid.to_be_bytes()));
                }
                if size % 5 == 0 {
                    node.push(prop("hotpluggable", b""));
                }
                self.insert(at, node.into_iter().chain([Part::End]));
            }
            Mutation::Reserve(base, size, kind) => {
                let mut node = vec![Part::Begin(b"region".to_vec())];
                if kind & 1 == 0 {
                    node.push(prop("reg", &longs(&[base, size])));
                } else {
                    node.push(prop("size", &longs(&[size])));
                    if kind & 2 != 0 {
                        node.push(prop("alloc-ranges", &longs(&[base, size])));
                    }
                }
                if kind & 4 != 0 {
                    node.push(prop("no-map", b""));
                }
                if kind & 8 != 0 {
                    node.push(prop("compatible", b"shared-dma-pool\0"));
                    node.push(prop("reusable", b""));
                }
                node.push(Part::End);
                let name = b"reserved-memory";
                let is = |part: &Part| matches!(part, Part::Begin(n) if n == name);
                if let Some(parent) = self.parts.iter().position(is) {
                    let head = |part: &&Part| matches!(part, Part::Prop(..));
                    let head = self.parts[parent + 1..].iter().take_while(head).count();
                    self.insert(parent + 1 + head, node);
                } else {
                    let mut all = vec![Part::Begin(name.to_vec()), prop("ranges", b"")];
                    all.push(prop("#address-cells", &[0, 0, 0, 2]));
                    all.push(prop("#size-cells", &[0, 0, 0, 2]));
                    let at = self.first_child();
                    self.insert(at, all.into_iter().chain(node).chain([Part::End]));
                }
            }
            Mutation::MemReserve(base, size) => self.reservations.extend(longs(&[base, size])),
            // Of bytes: `mutate_bytes` has done them.
            _ => {}
        }
        Some(())
    }
}
