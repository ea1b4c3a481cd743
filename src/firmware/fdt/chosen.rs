//! `/chosen`: what the boot loader chose.

use super::Tree;
use super::address::Lineage;
use super::structure::Node;
use super::value::{Cells, Regs, Text};
use crate::addr::PhysAddr;

/// The node `/chosen`.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a> {
    /// The node.
    pub node: Node<'a>,
    root_cells: Cells,
}

/// Location of the initrd as the boot loader gives it; unchecked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Initrd {
    /// First byte.
    pub start: PhysAddr,
    /// The byte after its last.
    pub end: PhysAddr,
}

impl<'a> Chosen<'a> {
    /// The kernel command line.
    #[must_use]
    pub fn bootargs(&self) -> Option<Text<'a>> {
        self.node.text("bootargs")
    }
    /// The initrd's first byte; the property may have one cell or two.
    #[must_use]
    pub fn initrd_start(&self) -> Option<PhysAddr> {
        self.node.number("linux,initrd-start").map(PhysAddr::new)
    }
    /// The byte after the initrd's last.
    #[must_use]
    pub fn initrd_end(&self) -> Option<PhysAddr> {
        self.node.number("linux,initrd-end").map(PhysAddr::new)
    }
    /// Returns the initrd if both addresses are present.
    #[must_use]
    pub fn initrd(&self) -> Option<Initrd> {
        Some(Initrd { start: self.initrd_start()?, end: self.initrd_end()? })
    }
    /// `stdout-path`, or its older name, as written.
    #[must_use]
    pub fn stdout_path(&self) -> Option<Text<'a>> {
        self.node.text("stdout-path").or_else(|| self.node.text("linux,stdout-path"))
    }
    /// Ranges of RAM that a crash kernel may use; `None` for all.
    #[must_use]
    pub fn usable_memory_range(&self) -> Option<Regs<'a>> {
        let value = self.node.property("linux,usable-memory-range")?;
        Some(Regs::new(value, self.root_cells))
    }
    /// Random bytes for the placement of a kernel that places itself at random.
    #[must_use]
    pub fn kaslr_seed(&self) -> Option<&'a [u8]> {
        self.node.property("kaslr-seed")
    }
    /// Random bytes for the random number generator.
    #[must_use]
    pub fn rng_seed(&self) -> Option<&'a [u8]> {
        self.node.property("rng-seed")
    }
    /// All random bytes from the boot loader, those of zeros left out: whoever read them
    /// before has erased them.
    pub fn seeds(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let seeds = [self.rng_seed(), self.kaslr_seed()].into_iter().flatten();
        seeds.filter(|seed| seed.iter().any(|&byte| byte != 0))
    }
}

/// `stdout-path` resolved.
#[derive(Clone)]
pub struct StdoutPath<'a> {
    /// The node it leads to, and that node's ancestors.
    pub lineage: Lineage<'a>,
    /// Options after the colon: `115200n8`.
    pub options: Option<Text<'a>>,
}

impl<'a> Tree<'a> {
    /// The node `/chosen`.
    #[must_use]
    pub fn chosen(&self) -> Option<Chosen<'a>> {
        let node = self.root().child("chosen")?;
        Some(Chosen { node, root_cells: self.root().cells() })
    }

    /// The kernel command line, where there is one.
    #[must_use]
    pub fn bootargs(&self) -> Option<Text<'a>> {
        self.chosen()?.bootargs()
    }

    /// The node that `stdout-path` leads to. It is a path, or an alias of one, with
    /// options after a colon. An alias leads to a path and never to another alias,
    /// so that none can lead in a circle.
    #[must_use]
    pub fn stdout(&self) -> Option<StdoutPath<'a>> {
        let path = self.chosen()?.stdout_path()?.bytes();
        let mut parts = path.splitn(2, |&byte| byte == b':');
        let path = parts.next()?;
        let options = parts.next().map(Text::new);
        let lineage = if path.starts_with(b"/") {
            self.lineage_of(path)?
        } else {
            let mut parts = path.splitn(2, |&byte| byte == b'/');
            let mut lineage = self.lineage_of(self.alias(parts.next()?)?.bytes())?;
            if let Some(rest) = parts.next() {
                lineage.descend(rest)?;
            }
            lineage
        };
        Some(StdoutPath { lineage, options })
    }

    /// The path that `/aliases` has for a name.
    #[must_use]
    pub fn alias(&self, name: &[u8]) -> Option<Text<'a>> {
        let aliases = self.root().child("aliases")?;
        let property = aliases.properties().find(|property| property.name.bytes() == name)?;
        Some(Text::until_nul(property.value))
    }
}
