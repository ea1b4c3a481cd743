//! The text of `/proc/PID/maps`, `smaps` and `smaps_rollup` (Linux: fs/proc/task_mmu.c).

use super::{Marks, MmStruct};
use crate::addr::{PAGE_SHIFT, UserAddr};
use crate::mm::vma::{PageState, PageTables, VmFlags, Vma};
use core::fmt::{self, Write};

/// Counts the characters of a line, to fill it up to a column.
struct Line<'a> {
    out: &'a mut dyn Write,
    len: usize,
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.len += text.len();
        self.out.write_str(text)
    }
}

/// Column of names (Linux: show_vma_header_prefix).
const NAME_COLUMN: usize = 25 + 8 * 6 - 1;

impl Line<'_> {
    /// Fills up to the column of names.
    fn pad(&mut self) -> fmt::Result {
        while self.len < NAME_COLUMN {
            self.write_char(' ')?;
        }
        self.write_char(' ')
    }
}

/// Writes the line of an area (Linux: show_map_vma).
fn write_map(out: &mut dyn Write, vma: &Vma, marks: &Marks) -> fmt::Result {
    let flags = vma.flags();
    let file = vma.file().filter(|_| !vma.is_special_mapping());
    let (dev, ino) = file.map_or((0, 0), |file| file.id());
    let pgoff = if file.is_some() { vma.pgoff() << PAGE_SHIFT } else { 0 };
    let right = |flag, letter| if flags.contains(flag) { letter } else { '-' };
    let mut line = Line { out, len: 0 };
    write!(
        line,
        "{:08x}-{:08x} {}{}{}{} {pgoff:08x} {:02x}:{:02x} {ino} ",
        vma.start(),
        vma.end(),
        right(VmFlags::READ, 'r'),
        right(VmFlags::WRITE, 'w'),
        right(VmFlags::EXEC, 'x'),
        if flags.contains(VmFlags::MAYSHARE) { 's' } else { 'p' },
        dev >> 20,
        dev & 0xf_ffff,
    )?;
    write_name(&mut line, vma, marks)?;
    line.write_char('\n')
}

/// Writes the name of an area, if it has one (Linux: get_vma_name).
fn write_name(line: &mut Line<'_>, vma: &Vma, marks: &Marks) -> fmt::Result {
    let name = vma.attributes().anon_name.as_ref();
    if let Some(file) = vma.file() {
        line.pad()?;
        return match name {
            Some(name) => write!(line, "[anon_shmem:{}]", name.as_str()),
            None => file.fmt_path(line),
        };
    }
    let (start, end) = (vma.start().get(), vma.end());
    if start < marks.brk && end > marks.start_brk {
        line.pad()?;
        return line.write_str("[heap]");
    }
    if start <= marks.start_stack && end >= marks.start_stack && marks.start_stack != 0 {
        line.pad()?;
        return line.write_str("[stack]");
    }
    if let Some(name) = name {
        line.pad()?;
        write!(line, "[anon:{}]", name.as_str())?;
    }
    Ok(())
}

/// Bytes of an area in memory, by kind (Linux: struct mem_size_stats).
#[derive(Clone, Copy, Default)]
struct Sizes {
    size: u64,
    rss: u64,
    /// In units of a byte / 4096.
    pss: u64,
    pss_dirty: u64,
    pss_anon: u64,
    pss_file: u64,
    pss_shmem: u64,
    shared_clean: u64,
    shared_dirty: u64,
    private_clean: u64,
    private_dirty: u64,
    referenced: u64,
    anonymous: u64,
    locked: u64,
}

/// Bits of a byte's fraction in proportional sizes (Linux: PSS_SHIFT).
const PSS_SHIFT: u32 = 12;

impl Sizes {
    /// Counts a page (Linux: smaps_account).
    fn add(&mut self, vma: &Vma, state: PageState) {
        let PageState::Page { anon, mappings, young, dirty } = state else { return };
        let page = 1 << PAGE_SHIFT;
        let pss = (page << PSS_SHIFT) / u64::from(mappings.max(1));
        self.rss += page;
        self.pss += pss;
        if anon {
            self.anonymous += page;
            self.pss_anon += pss;
        } else if vma.file().is_some_and(|file| file.is_shmem()) {
            self.pss_shmem += pss;
        } else {
            self.pss_file += pss;
        }
        if young {
            self.referenced += page;
        }
        if vma.flags().contains(VmFlags::LOCKED) {
            self.locked += pss;
        }
        if dirty {
            self.pss_dirty += pss;
        }
        let by_kind = match (mappings > 1, dirty) {
            (true, false) => &mut self.shared_clean,
            (true, true) => &mut self.shared_dirty,
            (false, false) => &mut self.private_clean,
            (false, true) => &mut self.private_dirty,
        };
        *by_kind += page;
    }

    /// Counts an area.
    fn add_area(&mut self, tables: &impl PageTables, vma: &Vma) {
        self.size += vma.range().len() as u64;
        tables.resident(vma.range(), &mut |_, state| self.add(vma, state));
    }

    /// Writes the sizes (Linux: __show_smap).
    fn write(&self, out: &mut dyn Write, is_rollup: bool) -> fmt::Result {
        let mut row = |name: &str, bytes: u64| write_row(out, name, bytes);
        let pss = |bytes: u64| bytes >> PSS_SHIFT;
        row("Rss", self.rss)?;
        row("Pss", pss(self.pss))?;
        row("Pss_Dirty", pss(self.pss_dirty))?;
        if is_rollup {
            row("Pss_Anon", pss(self.pss_anon))?;
            row("Pss_File", pss(self.pss_file))?;
            row("Pss_Shmem", pss(self.pss_shmem))?;
        }
        row("Shared_Clean", self.shared_clean)?;
        row("Shared_Dirty", self.shared_dirty)?;
        row("Private_Clean", self.private_clean)?;
        row("Private_Dirty", self.private_dirty)?;
        row("Referenced", self.referenced)?;
        row("Anonymous", self.anonymous)?;
        // There are no pages of these kinds yet.
        for name in [
            "KSM",
            "LazyFree",
            "AnonHugePages",
            "ShmemPmdMapped",
            "FilePmdMapped",
            "Shared_Hugetlb",
            "Private_Hugetlb",
            "Swap",
            "SwapPss",
        ] {
            row(name, 0)?;
        }
        row("Locked", pss(self.locked))
    }
}

/// Writes a size in KiB.
fn write_row(out: &mut dyn Write, name: &str, bytes: u64) -> fmt::Result {
    writeln!(out, "{name}:{:>width$} kB", bytes >> 10, width = 23 - name.len())
}

/// Letters of the flags, by bit (Linux: show_smap_vma_flags).
const MNEMONICS: [(VmFlags, &str); 29] = [
    (VmFlags::READ, "rd"),
    (VmFlags::WRITE, "wr"),
    (VmFlags::EXEC, "ex"),
    (VmFlags::SHARED, "sh"),
    (VmFlags::MAYREAD, "mr"),
    (VmFlags::MAYWRITE, "mw"),
    (VmFlags::MAYEXEC, "me"),
    (VmFlags::MAYSHARE, "ms"),
    (VmFlags::GROWSDOWN, "gd"),
    (VmFlags::PFNMAP, "pf"),
    (VmFlags::LOCKED, "lo"),
    (VmFlags::IO, "io"),
    (VmFlags::SEQ_READ, "sr"),
    (VmFlags::RAND_READ, "rr"),
    (VmFlags::DONTCOPY, "dc"),
    (VmFlags::DONTEXPAND, "de"),
    (VmFlags::LOCKONFAULT, "lf"),
    (VmFlags::ACCOUNT, "ac"),
    (VmFlags::NORESERVE, "nr"),
    (VmFlags::HUGETLB, "ht"),
    (VmFlags::SYNC, "sf"),
    (VmFlags::BTI, "bt"),
    (VmFlags::WIPEONFORK, "wf"),
    (VmFlags::DONTDUMP, "dd"),
    (VmFlags::MIXEDMAP, "mm"),
    (VmFlags::HUGEPAGE, "hg"),
    (VmFlags::NOHUGEPAGE, "nh"),
    (VmFlags::DROPPABLE, "dp"),
    (VmFlags::SEALED, "sl"),
];

impl<T: PageTables> MmStruct<T> {
    /// Writes the text of `/proc/PID/maps`. Process context.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_maps(&self, out: &mut dyn Write) -> fmt::Result {
        let space = self.space.read();
        space.vmas.iter().try_for_each(|vma| write_map(out, vma, &space.marks))
    }

    /// Writes the line of the first area that ends after `at`, and returns where it ends; `None` if
    /// there is none. So a reader gets the text piece by piece.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_map_at(
        &self,
        at: usize,
        out: &mut dyn Write,
    ) -> Result<Option<usize>, fmt::Error> {
        let space = self.space.read();
        let Some(vma) = space.vmas.find_at_or_above(at) else { return Ok(None) };
        write_map(out, vma, &space.marks)?;
        Ok(Some(vma.end()))
    }

    /// Writes the text of `/proc/PID/smaps` of the first area that ends after `at`, as
    /// [`Self::write_map_at`].
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_smap_at(
        &self,
        at: usize,
        out: &mut dyn Write,
    ) -> Result<Option<usize>, fmt::Error> {
        let space = self.space.read();
        let Some(vma) = space.vmas.find_at_or_above(at) else { return Ok(None) };
        write_map(out, vma, &space.marks)?;
        let mut sizes = Sizes::default();
        sizes.add_area(&self.tables, vma);
        write_row(out, "Size", sizes.size)?;
        write_row(out, "KernelPageSize", 1 << PAGE_SHIFT)?;
        write_row(out, "MMUPageSize", 1 << PAGE_SHIFT)?;
        sizes.write(out, false)?;
        out.write_str("THPeligible:           0\n")?;
        out.write_str("VmFlags: ")?;
        for (flag, letters) in MNEMONICS {
            if vma.flags().contains(flag) {
                write!(out, "{letters} ")?;
            }
        }
        out.write_char('\n')?;
        Ok(Some(vma.end()))
    }

    /// Writes the text of `/proc/PID/smaps_rollup`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_smaps_rollup(&self, out: &mut dyn Write) -> fmt::Result {
        let space = self.space.read();
        let mut sizes = Sizes::default();
        let mut ends = None::<(UserAddr, usize)>;
        for vma in space.vmas.iter() {
            sizes.add_area(&self.tables, vma);
            ends = Some((ends.map_or(vma.start(), |(start, _)| start), vma.end()));
        }
        let Some((start, end)) = ends else { return Ok(()) };
        let mut line = Line { out, len: 0 };
        write!(line, "{start:08x}-{end:08x} ---p 00000000 00:00 0 ")?;
        line.pad()?;
        line.write_str("[rollup]\n")?;
        sizes.write(out, true)
    }
}
