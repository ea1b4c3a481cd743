"""Programs that are kept, with what Linux prints for them: tests without Linux."""

import lzma
import re

from .cases import Wrong, cases_of, split_output
from .machines import ROOT
from .table import results

FOLDER = ROOT / "tests/data/differential"
LIST, REFERENCE = FOLDER / "kept", FOLDER / "linux.xz"


def cases():
    return cases_of(LIST.read_text().splitlines())


def write(version, outputs):
    """Keeps the outputs, which are of the kept programs in their order."""
    if None in outputs:
        raise Wrong("a kept program has no output")
    text = "".join(f"{line}\n" for lines in outputs for line in lines)
    REFERENCE.write_bytes(lzma.compress(f"Linux {version}\n{text}== done\n".encode(), preset=9 | lzma.PRESET_EXTREME))


def read():
    """The version of Linux, and the outputs of the kept programs."""
    text = lzma.decompress(REFERENCE.read_bytes()).decode()
    first, _, rest = text.partition("\n")
    return first.removeprefix("Linux "), split_output(rest, cases())


def features(lines):
    """What happens in a program: each call with its result, and how many areas it took and made."""
    found, last, gone, come = set(), [], 0, 0
    for line in [*(lines or ()), "end"]:
        if line.startswith("  - "):
            gone += 1
        elif line.startswith("  + "):
            come += 1
        elif re.match(r"\d+ |end$|== ", line):
            for call, result in last:
                found.add((call, result, min(gone, 3), min(come, 3)))
            last, gone, come = list(results(line))[:1], 0, 0
    return found


def choose(outputs, limit):
    """The indices of a few outputs that together have all that happens in any of them."""
    sets = [features(lines) for lines in outputs]
    left, chosen = set().union(*sets), []
    while left and len(chosen) < limit:
        best = max(range(len(sets)), key=lambda n: len(sets[n] & left))
        chosen.append(best)
        left -= sets[best]
    return sorted(chosen), len(left)
