//! The structure block: tokens, nodes, properties, walks.

use super::Tree;
use super::header::{FdtError, be32};
use super::value::{Cells, Regs, Strings, Text, number};
use core::fmt;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// The two blocks that hold nodes and names.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
}

/// A token of the structure block; [`NOP`]s never show.
enum Token<'a> {
    Begin { name: &'a [u8] },
    End,
    Prop { name: u32, value: &'a [u8] },
    Last,
}

impl<'a> Blocks<'a> {
    /// The names in `strings` count up to the last NUL: with that, an offset inside
    /// the slice is the offset of a name that ends.
    pub(super) fn new(structure: &'a [u8], strings: &'a [u8]) -> Self {
        let ended = strings.iter().rposition(|&byte| byte == 0).map_or(0, |nul| nul + 1);
        Self { structure, strings: strings.get(..ended).unwrap_or_default() }
    }

    /// The token at `at` and the offset of what follows it.
    #[inline]
    fn token(&self, mut at: usize) -> Result<(Token<'a>, usize), &'static str> {
        loop {
            #[cfg(test)]
            super::tests::work::step();
            let kind = be32(self.structure, at).ok_or("the block ends before the tree does")?;
            at += 4;
            match kind {
                NOP => {}
                BEGIN_NODE => {
                    let rest = self.structure.get(at..).unwrap_or_default();
                    let length = rest.iter().position(|&byte| byte == 0);
                    let name = length.and_then(|length| rest.get(..length));
                    let name = name.ok_or("a node's name without an end")?;
                    return Ok((Token::Begin { name }, (at + name.len() + 1).next_multiple_of(4)));
                }
                END_NODE => return Ok((Token::End, at)),
                PROP => {
                    let length = be32(self.structure, at).ok_or("a cut property")? as usize;
                    let name = be32(self.structure, at + 4).ok_or("a cut property")?;
                    at += 8;
                    let value = self.structure.get(at..).and_then(|rest| rest.get(..length));
                    let value = value.ok_or("a property longer than the block")?;
                    return Ok((Token::Prop { name, value }, (at + length).next_multiple_of(4)));
                }
                END => return Ok((Token::Last, at)),
                _ => return Err("an unknown token"),
            }
        }
    }

    /// Checks the structure block from end to end and returns the root.
    pub(super) fn validate(&self) -> Result<Node<'a>, FdtError> {
        let mut at = 0;
        let mut depth = 0usize;
        let mut root = None;
        let mut after_child = false;
        loop {
            let defect = |defect| FdtError::Structure { offset: at, defect };
            let (token, next) = self.token(at).map_err(defect)?;
            match token {
                Token::Begin { name } => {
                    if depth == 0 {
                        if root.is_some() {
                            return Err(defect("a second root"));
                        }
                        root = Some(Node { blocks: *self, name, body: next });
                    }
                    depth += 1;
                    after_child = false;
                }
                Token::End => {
                    depth = depth.checked_sub(1).ok_or(defect("a node closed but not opened"))?;
                    after_child = true;
                }
                Token::Prop { name, .. } => {
                    if depth == 0 || after_child {
                        return Err(defect("a property outside a node's head"));
                    }
                    if name as usize >= self.strings.len() {
                        return Err(defect("a property whose name lies outside the strings block"));
                    }
                }
                Token::Last => {
                    return match root {
                        Some(root) if depth == 0 => Ok(root),
                        Some(_) => Err(defect("the end inside an open node")),
                        None => Err(defect("the end before the root")),
                    };
                }
            }
            at = next;
        }
    }

    fn name_is(&self, offset: u32, name: &str) -> bool {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        // The length and the first byte tell most names apart without a call of memcmp.
        rest.get(name.len()) == Some(&0)
            && name.as_bytes().first().is_none_or(|first| rest.first() == Some(first))
            && rest.get(..name.len()) == Some(name.as_bytes())
    }

    fn name_at(&self, offset: u32) -> Text<'a> {
        Text::until_nul(self.strings.get(offset as usize..).unwrap_or_default())
    }
}

/// A node of the tree.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    blocks: Blocks<'a>,
    name: &'a [u8],
    /// Offset of the first property, child or end.
    body: usize,
}

impl PartialEq for Node<'_> {
    /// Returns whether they are the same node of the same blob.
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.name, other.name)
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.name())
    }
}

impl<'a> Node<'a> {
    /// Returns the name with the unit address: `serial@9000000`; the root's is empty.
    #[must_use]
    pub fn name(&self) -> Text<'a> {
        Text::new(self.name)
    }

    /// Returns whether a path's `component` means this node: the whole name, or the name without
    /// the unit address if `component` has none.
    #[must_use]
    pub fn is_called(&self, component: &[u8]) -> bool {
        match self.name.strip_prefix(component) {
            Some([]) => true,
            Some([b'@', ..]) => !component.contains(&b'@'),
            _ => false,
        }
    }

    /// Returns the properties, in the order of the blob.
    pub fn properties(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let (blocks, mut at) = (self.blocks, self.body);
        core::iter::from_fn(move || match blocks.token(at) {
            Ok((Token::Prop { name, value }, next)) => {
                at = next;
                Some(Property { name: blocks.name_at(name), value })
            }
            _ => None,
        })
    }

    /// The value of the property of this name.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'a [u8]> {
        // As Blocks::token, but the value is looked at only where the name is right: searches
        // for properties are most of what reading a tree costs.
        const HEAD: usize = 12;
        let mut rest = self.blocks.structure.get(self.body..)?;
        loop {
            #[cfg(test)]
            super::tests::work::step();
            // A property needs as much, whatever stands before it.
            let head = rest.first_chunk::<HEAD>()?;
            match be32(head, 0)? {
                NOP => rest = rest.get(4..)?,
                PROP => {
                    let (length, offset) = (be32(head, 4)? as usize, be32(head, 8)?);
                    if self.blocks.name_is(offset, name) {
                        return rest.get(HEAD..)?.get(..length);
                    }
                    rest = rest.get(HEAD + length.next_multiple_of(4)..)?;
                }
                _ => return None,
            }
        }
    }

    /// Returns whether it has a property of this name, whatever the value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.property(name).is_some()
    }

    /// The first string of a property.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Text<'a>> {
        self.property(name).map(Text::until_nul)
    }

    /// The strings of a property; none where it is absent.
    #[must_use]
    pub fn strings(&self, name: &str) -> Strings<'a> {
        Strings::new(self.property(name).unwrap_or_default())
    }

    /// The property's cells as one number; `None` where it is absent, empty, no
    /// multiple of four bytes, or above 64 bits.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        let value = self.property(name)?;
        if value.is_empty() { None } else { number(value) }
    }

    /// The property's first cell.
    #[must_use]
    pub fn cell(&self, name: &str) -> Option<u32> {
        be32(self.property(name)?, 0)
    }

    /// Returns the `compatible` strings, most specific first.
    #[must_use]
    pub fn compatible(&self) -> Strings<'a> {
        self.strings("compatible")
    }

    /// Returns whether `compatible` lists this string.
    #[must_use]
    pub fn is_compatible(&self, with: &str) -> bool {
        self.compatible().any(|text| text == with)
    }

    /// Returns the `status`.
    #[must_use]
    pub fn status(&self) -> Option<Text<'a>> {
        self.text("status")
    }

    /// Returns whether its `status` is absent or says okay (Linux: of_device_is_available).
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.status().is_none_or(|status| status == "okay" || status == "ok")
    }

    /// The number by which others refer to it.
    #[must_use]
    pub fn phandle(&self) -> Option<u32> {
        self.cell("phandle").or_else(|| self.cell("linux,phandle"))
    }

    /// Returns the number of cells in children's addresses and sizes; 2 and 1 by default.
    #[must_use]
    pub fn cells(&self) -> Cells {
        let default = Cells::default();
        Cells {
            address: self.cell("#address-cells").unwrap_or(default.address),
            size: self.cell("#size-cells").unwrap_or(default.size),
        }
    }

    /// The entries of its `reg`, written in the cells of its parent.
    #[must_use]
    pub fn regs(&self, parent: Cells) -> Regs<'a> {
        Regs::new(self.property("reg").unwrap_or_default(), parent)
    }

    /// Returns the children, in the order of the blob.
    pub fn children(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let (blocks, mut at) = (self.blocks, self.body);
        let mut depth = 0usize;
        core::iter::from_fn(move || {
            loop {
                let (token, next) = blocks.token(at).ok()?;
                match token {
                    Token::Begin { name } => {
                        at = next;
                        depth += 1;
                        if depth == 1 {
                            return Some(Node { blocks, name, body: next });
                        }
                    }
                    // The parent's own end: `at` stays on it, and so does the answer.
                    Token::End => {
                        depth = depth.checked_sub(1)?;
                        at = next;
                    }
                    Token::Prop { .. } => at = next,
                    Token::Last => return None,
                }
            }
        })
    }

    /// The first child that `component` means.
    #[must_use]
    pub fn child(&self, component: &str) -> Option<Node<'a>> {
        self.children().find(|child| child.is_called(component.as_bytes()))
    }
}

/// A property of a node.
#[derive(Clone, Copy, Debug)]
pub struct Property<'a> {
    /// Name of the property.
    pub name: Text<'a>,
    /// Value of the property, as the blob has it.
    pub value: &'a [u8],
}

/// Every node of the tree, parents first.
pub struct Walk<'a> {
    blocks: Blocks<'a>,
    at: usize,
    depth: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(blocks: Blocks<'a>) -> Self {
        Self { blocks, at: 0, depth: 0 }
    }

    /// Returns the depth of the node that came last: the root is at 1.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Leaves out what lies below the node that came last.
    pub fn skip_children(&mut self) {
        let mut open = 1usize;
        while open > 0 {
            let Ok((token, next)) = self.blocks.token(self.at) else { return };
            match token {
                Token::Begin { .. } => open += 1,
                Token::End => open -= 1,
                Token::Prop { .. } => {}
                Token::Last => return,
            }
            self.at = next;
        }
        self.depth = self.depth.saturating_sub(1);
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        loop {
            let (token, next) = self.blocks.token(self.at).ok()?;
            match token {
                Token::Begin { name } => {
                    self.at = next;
                    self.depth += 1;
                    return Some(Node { blocks: self.blocks, name, body: next });
                }
                Token::End => self.depth = self.depth.saturating_sub(1),
                Token::Prop { .. } => {}
                Token::Last => return None,
            }
            self.at = next;
        }
    }
}

impl<'a> Tree<'a> {
    /// The node of an absolute path such as `/soc/serial@7e201000`, or such as
    /// `/soc/serial` for the first of that name.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<Node<'a>> {
        self.lineage_of(path.as_bytes()).map(|lineage| lineage.node())
    }
}
