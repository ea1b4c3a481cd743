"""Linux's own tests of memory calls (tools/testing/selftests/mm), built static, on Linux and on Granule."""

import difflib
import re
from pathlib import Path

from .machines import PROGRAMS, ROOT, command

# Those that need no other process or thread, no huge pages and no configuration.
NAMES = (
    "madv_populate",
    "map_fixed_noreplace",
    "mlock2-tests",
    "mremap_dontunmap",
    "mremap_test",
    "mseal_test",
    "seal_elf",
    "droppable",
)
# The results alone: what else they print are addresses and times.
RESULT = re.compile(r"(ok|not ok|1\.\.)\b.*|== status .*")


def files():
    source = Path(command(ROOT / "scripts/setup", "--selftests").strip())
    folder = source / "tools/testing/selftests/mm"
    found = {}
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        to = PROGRAMS / f"selftest-{name}"
        include = ["-I..", "-I../../../include/uapi", "-I../../../include"]
        sources = [f"{name}.c", "vm_util.c", "thp_settings.c"]
        command(
            *("aarch64-linux-gnu-gcc", "-O2", "-w", "-static", "-s", "-D_GNU_SOURCE", *include, "-o", to, *sources),
            cwd=folder,
        )
        found[name] = to.read_bytes()
    return found


def lines():
    return [f"/{name}" for name in NAMES]


def results(text):
    return [line for line in text.replace("\r", "").splitlines() if RESULT.fullmatch(line)]


def difference(linux, granule):
    return list(difflib.unified_diff(results(linux), results(granule), "Linux", "Granule", lineterm=""))
