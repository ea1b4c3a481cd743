#!/usr/bin/env python3
"""Checks who writes the descriptors of frames (docs/soundness.md).

    scripts/tests/writers.py [--list | --samples]

Whoever writes a frame's descriptor decides who has the page. The functions that do so are safe
and trusted, so that their callers are few: the rooms of ROOMS, and the files of KNOWN with
the functions named there. The functions are those of src/mm/page that store into a
descriptor or lend a link of one, and the lists whose links are in descriptors. --list prints
these functions and each file that names one of them; --samples tries the check on texts made here.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2] / "src"
# Policy that consists of such calls.
ROOMS = ("mm/page/", "mm/page_alloc/", "mm/slab/", "mm/pcp_list.rs")
KNOWN = """
mm/compaction/scanner.rs add_block_skip clear_block_skip
mm/debug/kfence/mod.rs add_type set_owner
mm/filemap/mod.rs set_owner
mm/init_mm/mod.rs add_type clear_type
mm/memory/file.rs mapcount_add
mm/memory/free_tables.rs set_next set_private
mm/memory/gather.rs mapcount_sub set_next set_owner
mm/memory/locked.rs set_private
mm/memory/release.rs set_next
mm/memory/table_page.rs add_type clear_type set_next set_private
mm/memory/walk.rs set_private
mm/memory/zap.rs set_next set_owner
mm/memory_hotplug/mod.rs add_type clear_type set_block_migratetype set_block_offline
mm/mmzone/zone.rs FreeList
mm/vmalloc/area_pages.rs add_type clear_type set_next
"""
# Types of src/mm/page whose methods write links.
LISTS = {"FreeList"}
STORES = re.compile(
    r"\.(store|fetch_\w+|swap|compare_exchange\w*)\(|\.(next|prev)\.set\(|\blife\(\)\.(get|try_get|put|hand_out|mark|unmark)\("
    r"|\.set_block\(|^[^{]*-> &Link\b"
)
FUNCTION = re.compile(r"\bpub(?:\([^)]*\))? (?:const |unsafe )*fn (\$?\w+)((?:[^{};]|\{\s*const)*\{)", re.S)


def code_of(text):
    """The text without comments and without strings."""
    return re.sub(r'"(?:\\.|[^"\\])*"', '""', re.sub(r"//[^\n]*", "", text))


def body(text, start):
    """The text from `start`, behind an opening brace, up to the closing one."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at]
    return text[start:]


def writers(text):
    """The public functions in the text of descriptors that write one."""
    text = code_of(text)
    for match in FUNCTION.finditer(text):
        if STORES.search(match[2] + body(text, match.end())):
            yield match[1]
    # Setters that a macro makes of names.
    for inside in re.findall(r"\bfield!\s*[({\[]([^;]*?)[)}\]]\s*;?", re.sub(r"#\[[^\]]*\]", "", text)):
        names = [name.strip() for name in inside.split(",")]
        if len(names) >= 3:
            yield names[1]


def all_writers():
    found = set(LISTS)
    for name in ("mod.rs", "frame.rs", "pageblock.rs", "user.rs"):
        found |= set(writers((ROOT / "mm/page" / name).read_text(encoding="utf-8")))
    # `Link::set` writes the link that `next_link` and `prev_link` lend.
    return {name for name in found if not name.startswith("$")} - {"set"}


def uses(text, names):
    """The names that a file's code calls, as a method or by a path, or imports."""
    # The words that debug tools keep beside a descriptor have a function of the same name.
    text = re.sub(r"\.\s*set_flags\s*\(\s*PageExtFlags\b", "", code_of(text))
    pattern = rf"(?:\.\s*|::\s*(?:\{{[^;}}]*?)?)\b({'|'.join(sorted(names))})\b|\b({'|'.join(sorted(LISTS))})\b"
    return {a or b for a, b in re.findall(pattern, text)} & names


def is_test(path):
    return any("test" in part for part in path.with_suffix("").parts)


def found_in(names):
    """(file, names) for each file of src outside of ROOMS that uses one of `names`."""
    for path in sorted(ROOT.rglob("*.rs")):
        file = path.relative_to(ROOT)
        if not is_test(file) and not str(file).startswith(ROOMS):
            used = uses(path.read_text(encoding="utf-8"), names)
            if used:
                yield str(file), used


def mistakes(found, known, names):
    """A line for each use that is not known, and for each that is known and not there."""
    wanted = {(file, name) for file, *more in map(str.split, known.strip().splitlines()) for name in more}
    there = {(file, name) for file, used in found for name in used}
    for file, name in sorted(there - wanted):
        yield f"src/{file}: another that writes descriptors, by {name}"
    for file, name in sorted(wanted - there):
        yield f"src/{file}: does not use {name}" + ("" if name in names else ", which is no function")


def samples():
    """Tries the functions on texts with and without what they look for."""
    page = """
        macro_rules! field { ($name:ident, $set:ident, $ty:ty) => {
            pub(in crate::mm) fn $set(&self, value: $ty) { self.$name.store(value, Relaxed); } }; }
        impl Page {
            pub fn order(&self) -> u8 { self.order.load(Relaxed) }
            pub(in crate::mm) fn set_order(&self, order: Order) { self.order.store(order.get(), Relaxed); }
            pub(in crate::mm) fn next_link(&self) -> &Link { &self.next }
            pub(in crate::mm) fn set_prev(&self, prev: Option<Frame>) { self.prev.set(prev); }
            pub(in crate::mm) fn add_skip(&self) { if true { } self.block.fetch_or(1, Relaxed); }
            pub(in crate::mm) fn grow(&self) -> u32 { self.life().get() }
            pub(in crate::mm) fn count(&self) -> u32 { self.life().count() }
            fn private(&self) { self.order.store(0, Relaxed); }
            field! {
                /// A number, of its owner.
                mapcount, set_mapcount, u32
            }
            field!(owner, set_owner, usize);
        }"""
    found = set(writers(page)) - {"$set"}
    assert found == {"set_order", "next_link", "set_prev", "add_skip", "grow", "set_mapcount", "set_owner"}, found
    names = {"set_next", "next_link", "set_flags", "hand_out", "FreeList"}
    for text, expected in (
        ("frame.page().set_next(None);", {"set_next"}),
        ("frame\n    .page()\n    .set_next(\n None);", {"set_next"}),
        ("frames.for_each(Page::hand_out);", {"hand_out"}),
        ("Page::set_next(page, None); <Page>::hand_out(page);", {"set_next", "hand_out"}),
        ("page.next_link().set(None);", {"next_link"}),
        ("let set = page.next_link ();", {"next_link"}),
        ("pages[0].set_flags(PageFlags::SLAB);", {"set_flags"}),
        ("use crate::mm::page::{Frame, FreeList};", {"FreeList"}),
        ("free: FreeList,", {"FreeList"}),
        ("ext.set_flags(PageExtFlags::OWNER, true);", set()),
        ("// page.set_next(None);\nlet x = \".set_next(\"; offset_next(); page.set_next_hint(1);", set()),
        ("fn set_next(x: u32) { set_next(x) }", set()),
    ):
        assert uses(text, names) == expected, (text, uses(text, names))
    known = "mm/a.rs set_next\nmm/b.rs set_place"
    lines = list(mistakes([("mm/a.rs", {"set_next", "hand_out"})], known, names))
    assert lines == [
        "src/mm/a.rs: another that writes descriptors, by hand_out",
        "src/mm/b.rs: does not use set_place, which is no function",
    ], lines
    # The functions as they are.
    must = "set_next set_prev next_link prev_link set_flags add_flags remove_flags set_order set_zone hand_out set_owner"
    must += " set_refcount set_slab_word set_private refcount_add refcount_try_add refcount_sub set_block_offline"
    must += " set_block_migratetype add_block_skip clear_block_skip FreeList"
    assert set(must.split()) <= all_writers(), set(must.split()) - all_writers()


def main(*options):
    if "--samples" in options:
        return samples()
    names = all_writers()
    found = list(found_in(names))
    if "--list" in options:
        print(*sorted(names))
        for file, used in found:
            print(file, *sorted(used))
    wrong = list(mistakes(found, KNOWN, names))
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main(*sys.argv[1:])
