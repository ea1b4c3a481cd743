"""Names that debugging information has no place for, read out of the kernel's source:
bits of flags, names of kinds, the layout of the address space. Where the source is not
at hand, numbers stay numbers."""

import functools
import pathlib
import re

from .target import Error

ROOT = pathlib.Path(__file__).resolve().parents[2] / "src"


@functools.lru_cache(maxsize=None)
def _text(path):
    try:
        text = (ROOT / path).read_text(encoding="utf-8")
    except OSError:
        return ""
    return re.sub(r"//.*", "", text)


def _evaluate(expression, known):
    expression = re.sub(
        r"Self::(\w+)\.bits\(\)", lambda name: str(known.get(name.group(1), 0)), expression
    )
    expression = " ".join(expression.replace("!", "~").split())
    if not re.fullmatch(r"[0-9a-fA-Fx_<>|&~() ]+", expression):
        return None
    return eval(expression, {"__builtins__": {}})  # digits and operators alone


@functools.lru_cache(maxsize=None)
def flags(path, name):
    """The flags of a `bitflags!` type as (name, bits), in their order."""
    found = re.search(rf"pub struct {name}: u(\d+) \{{(.*?)\n    \}}", _text(path), re.S)
    if not found:
        return ()
    mask = (1 << int(found.group(1))) - 1
    known = {}
    for const in re.finditer(r"const (\w+)\s*=\s*([^;]+);", found.group(2)):
        value = _evaluate(const.group(2), known)
        if value is not None:
            known[const.group(1)] = value & mask
    return tuple(known.items())


def render(value, table, composites=False):
    """Bits in words, as `bitflags` writes them; with `composites`, names that stand for
    several bits come first, the largest that fits."""
    names, left = [], value
    if composites:
        whole = [(n, bits) for n, bits in table if bits & (bits - 1) and not n.startswith("_")]
        fits = [(n, bits) for n, bits in whole if bits & value == bits]
        if fits:
            name, bits = max(fits, key=lambda flag: bin(flag[1]).count("1"))
            names.append(name)
            left &= ~bits
        table = [flag for flag in table if not flag[1] & (flag[1] - 1)]
    for name, bits in table:
        if bits and bits & value == bits and bits & left:
            names.append(name)
            left &= ~bits
    if left or not names:
        names.append(f"{left:#x}")
    return " | ".join(names)


PAGE_FLAGS = "mm/page/flags.rs"
# Bits of a descriptor's `flags` that hold the page's type.
PAGE_TYPE_MASK = 0xF


@functools.lru_cache(maxsize=None)
def page_types():
    """Numbers of the types of pages, by the names that reports give them."""
    found = re.search(r"pub enum PageType \{(.*?)\n\}", _text(PAGE_FLAGS), re.S)
    numbers = {}
    for variant in re.finditer(r"^    (\w+) = ([^,]+),", found.group(1) if found else "", re.M):
        name = kind_name(PAGE_FLAGS, variant.group(1))
        numbers[name] = _evaluate(variant.group(2), {})
    return numbers


def page_type(name):
    """The number of a type of pages, or None where the name is a flag's."""
    return page_types().get(name)


def page_marks(value):
    """The words of `PageMarks`: a page's type and its flags."""
    number, left = value & PAGE_TYPE_MASK, value & ~PAGE_TYPE_MASK
    names = [name for name, known in page_types().items() if known == number and name]
    if left or not names:
        names.append(render(left, flags(PAGE_FLAGS, "PageFlags")))
    return " | ".join(names)


def page_flag(name):
    """The bit of a page flag."""
    table = dict(flags(PAGE_FLAGS, "PageFlags"))
    if name not in table:
        raise Error(f"src/{PAGE_FLAGS} has no flag {name}: is the source at {ROOT} the kernel's?")
    return table[name]


@functools.lru_cache(maxsize=None)
def kind_name(path, variant):
    """What `name()` of an enumeration calls a variant."""
    found = re.search(rf'Self::{variant} => "([^"]*)"', _text(path))
    return found.group(1) if found else variant


@functools.lru_cache(maxsize=None)
def layout():
    """The ranges of the kernel's address space: name -> (start, end)."""
    ranges = re.finditer(
        r"pub const (\w+): VirtRange = range\(([0-9a-fx_]+), ([0-9a-fx_]+)\)", _text("arch/mod.rs")
    )
    return {r.group(1): (int(r.group(2), 16), int(r.group(3), 16)) for r in ranges}


def start_of(name):
    """Where a range of the address space starts."""
    if name not in layout():
        raise Error(f"src/arch/mod.rs has no range {name}: is the source at {ROOT} the kernel's?")
    return layout()[name][0]
