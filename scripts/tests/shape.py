#!/usr/bin/env python3
"""Checks the lengths of files of src, names for which Linux or Rust has a word, and what costs more with
each CPU that the kernel is built for.

    scripts/tests/shape.py [--list | --samples]

No more than LONG_LIMIT files may have over LONG lines. None of the words of COINED may stand
in code, alone or as a part of a name, whatever its case and its ending. No array has NR_CPUS elements, and no
loop as many rounds, but those of FOR_ALL_CPUS: per-CPU data are of the CPUs that there are. --list prints the
long files. --samples tries all three on texts made here.
"""

import pathlib
import re
import sys

LONG, LONG_LIMIT = 400, 8
# Word: what stands in its place.
COINED = {
    "heed": "run_if_requested",
    "Walls": "MemsAllowed",
    "mm_word": "task_flags",
    "LONG_WAY": "NO_PCP_FLAGS",
    "alloc_listed": "alloc_pcp",
    "free_listed": "free_pcp",
    "OwnedPages": "PageList",
    "PageChain": "AreaPages",
    "PagesList": "PageList",
    "from_inside": "from_raw",
    "spill": "free_pcppages_bulk",
    "graft": "link_table",
    "provoke": "lkdtm",
    "buried": "finish_task_switch",
    "keep_out": "page_handle_poison",
    "map_few": "map_cached",
    "unmap_few": "unmap_cached",
}

# Files with arrays of NR_CPUS elements or loops of as many rounds: how many, and why (decision 17).
FOR_ALL_CPUS = {
    "arch/aarch64/smp.rs": (2, "a core looks there with its MMU off"),
    "arch/cpumask/mod.rs": (1, "a constant"),
    "lib.rs": (1, "the hosted machine has all CPUs"),
    "mm/slab/kmem_cache.rs": (1, "the hosted machine has all CPUs"),
    "mm/vmalloc/vmap_areas.rs": (2, "a word and a half for each CPU, under the lock of all areas"),
    "sched/mm/switch.rs": (1, "two words for each CPU, under the lock of the map of ASIDs"),
    "percpu/names/mod.rs": (1, "names of files, which are constants: 7 bytes for each CPU"),
    "percpu/array.rs": (4, "the hosted machine has all CPUs"),
}
FOR_ALL = re.compile(
    r"(?:;|\.\.=?|\bwhile\b[^{\n]*<)\s*\(?\$?(?:\w+::)*NR_CPUS\b"  # [x; N], 0..N, while n < N
    r"|\b\w+<[^;=\n]*\bNR_CPUS\b[^;=\n]*>"  # ArrayVec<T, N>
    r"|\bconst\s+\w+\s*:\s*\w+\s*=\s*\{?\s*(?:\w+::)*NR_CPUS\b[^;>\n]*[,>]"  # struct Array<const N: usize = NR_CPUS>
)

ROOT = pathlib.Path(__file__).resolve().parents[2] / "src"


def too_long(lengths):
    """The complaint about lengths of files, if there is one."""
    count = sum(length > LONG for length in lengths)
    return f"{count} files of over {LONG} lines, {LONG_LIMIT} at most" if count > LONG_LIMIT else None


def parts(name):
    """A name's words in small letters, between underscores: `PageChain2` is `page_chain2`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


COINED_PARTS = {parts(word): word for word in COINED}
# Any of them, as whole words within a name.
COINED_PATTERN = re.compile(rf"(?:^|_)({'|'.join(COINED_PARTS)})(?:s|d|ed|ing|er)?(?:\d*)(?=_|$)")


def coined(text):
    """(line, word) of each coined name in a file's code."""
    for number, line in enumerate(text.splitlines(), 1):
        for name in re.findall(r"[A-Za-z_]\w*", line.split("//")[0]):
            for word in COINED_PATTERN.findall(parts(name)):
                yield number, COINED_PARTS[word]


def for_all_cpus(text):
    """The number of arrays and loops in a file's code that cost more with each CPU that there can be."""
    code = "\n".join(line.split("//")[0] for line in text.splitlines())
    return len(FOR_ALL.findall(code))


def samples():
    """Tries the checks at their limits."""
    for costs in (
        "static A: [u64; NR_CPUS] = X;",
        "let mut a = [const { None }; crate::arch::NR_CPUS];",
        "for n in 0..NR_CPUS {",
        "(0..NR_CPUS.next_power_of_two())",
        "while n < NR_CPUS {",
        "seen: ArrayVec<u64, NR_CPUS>,",
        "pub struct Names<const LEN: usize, const N: usize = NR_CPUS>([u8; N]);",
        "struct Names<const N: usize = { arch::NR_CPUS * 2 }, T = u8>([T; N]);",
        "seen: ArrayVec<u64, { NR_CPUS.div_ceil(4) }>,",
    ):
        assert for_all_cpus(costs + "\n") == 1, costs
    for costs in (
        "// [u64; NR_CPUS]",
        "use crate::arch::{CpuId, NR_CPUS, cpu};",
        "assert!(n <= NR_CPUS);",
        "const X: usize = NR_CPUS;",
    ):
        assert for_all_cpus(costs + "\n") == 0, costs
    assert too_long([LONG] * 100 + [LONG + 1] * LONG_LIMIT) is None
    assert too_long([LONG + 1] * (LONG_LIMIT + 1))
    for word in COINED:
        assert list(coined(f"// {word}\nlet x = {word}(1);\n")) == [(2, word)], word
        for name in (f"the_{word}", f"{word}_of_it", f"a_{word}2_b", f"{parts(word)}s", parts(word).upper()):
            assert list(coined(f"fn {name}() {{}}\n")) == [(1, word)], (word, name)
        camel = parts(word).title().replace("_", "")
        assert list(coined(f"impl My{camel}Type for X {{}}\n")) == [(1, word)], (word, camel)
        # A part of a longer word is another word.
        assert not list(coined(f"fn x{word}y() {{}}\n")), word
    assert not list(coined("let wheedle = unheed + spillway + OwnedPage + chained_page;"))


def main(*options):
    if "--samples" in options:
        return samples()
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.rs"))}
    lengths = {path: text.count("\n") for path, text in texts.items()}
    if "--list" in options:
        for path, length in sorted(lengths.items(), key=lambda item: -item[1]):
            if length > LONG:
                print(f"{length:5} {path.relative_to(ROOT.parent)}")
    found = [(path, *place) for path, text in texts.items() for place in coined(text)]
    for path, number, word in found:
        print(f"{path.relative_to(ROOT.parent)}:{number}: {word}, which is called {COINED[word]}")
    complaints = [too_long(lengths.values()), f"{len(found)} coined names" if found else None]
    for path, text in texts.items():
        name = str(path.relative_to(ROOT))
        if "hosted" in name or "test" in name:
            continue
        count, expected = for_all_cpus(text), FOR_ALL_CPUS.get(name, (0, ""))[0]
        if count != expected:
            complaints.append(f"{name}: {count} arrays or loops for NR_CPUS CPUs, not {expected}")
    sys.exit("; ".join(filter(None, complaints)) or None)


if __name__ == "__main__":
    main(*sys.argv[1:])
