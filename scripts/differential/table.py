"""How often each call ends with each result: whether the programs reach what they are for."""

import re
from collections import Counter, defaultdict

OPERATION = re.compile(r"\d+ (\w+)[( ]")
RESULT = re.compile(r" = (-E[A-Z]+|-\d+|SIG[A-Z]+ code \d+)?")
ADVICE = re.compile(r", ([-A-Z_0-9]+)\) = ")


def results(line):
    """(call, result) of an operation's line; a result that is no error is `ok`."""
    match = OPERATION.match(line)
    if not match:
        return
    call = match[1]
    if call == "madvise":
        call = f"madvise {ADVICE.search(line)[1]}"
    if found := RESULT.search(line):
        yield call, found[1] or "ok"


def count(outputs):
    """{call: {result: number}} of outputs, which are lists of lines."""
    table = defaultdict(Counter)
    for lines in outputs:
        for line in lines or ():
            for call, result in results(line):
                table[call][result] += 1
    return table


def lines_of(table):
    for call in sorted(table):
        ordered = sorted(table[call].items(), key=lambda item: (item[0] != "ok", item[0]))
        yield f"{call:24} " + "  ".join(f"{result} {number}" for result, number in ordered)


# What thousands of programs must meet. Of madvise each advice counts by itself.
EXPECTED = {
    "mmap": "ok -EACCES -EAGAIN -EBADF -EEXIST -EINVAL -ENODEV -ENOMEM -EOPNOTSUPP -EOVERFLOW -EPERM",
    "munmap": "ok -EINVAL -ENOMEM -EPERM",
    "mprotect": "ok -EACCES -EINVAL -ENOMEM -EPERM",
    "mremap": "ok -EFAULT -EINVAL -ENOMEM -EAGAIN -EPERM",
    "brk": "ok",
    "remap_file_pages": "ok -EINVAL",
    "mseal": "ok -EINVAL -ENOMEM",
    "mincore": "ok -EFAULT -EINVAL -ENOMEM",
    "msync": "ok -EBUSY -EINVAL -ENOMEM",
    "mlock": "ok -EINVAL -ENOMEM -EPERM",
    "mlock2": "ok -EINVAL -ENOMEM -EPERM",
    "munlock": "ok -EINVAL -ENOMEM",
    "mlockall": "ok -EINVAL -ENOMEM -EPERM",
    "munlockall": "ok",
    "prlimit": "ok",
    "madvise DONTNEED": "ok -EINVAL -ENOMEM",
    "madvise FREE": "ok -EINVAL -ENOMEM",
    "madvise REMOVE": "ok -EACCES -EINVAL -ENOMEM",
    "madvise POPULATE_READ": "ok -EFAULT -ENOMEM",
    "madvise POPULATE_WRITE": "ok -EFAULT -EINVAL -ENOMEM",
    "madvise WIPEONFORK": "ok -EINVAL -ENOMEM",
    "madvise DONTFORK": "ok -ENOMEM",
    "madvise DOFORK": "ok -ENOMEM",
    "madvise NORMAL": "ok -EINVAL -ENOMEM",
    "madvise RANDOM": "ok -EINVAL -ENOMEM",
    "madvise SEQUENTIAL": "ok -EINVAL -ENOMEM",
    "madvise WILLNEED": "ok -ENOMEM",
    "madvise HUGEPAGE": "ok -ENOMEM",
    "madvise NOHUGEPAGE": "ok -ENOMEM",
    "madvise DONTDUMP": "ok -ENOMEM",
    "madvise DODUMP": "ok -ENOMEM",
    "madvise KEEPONFORK": "ok -ENOMEM",
    "madvise COLD": "ok -EINVAL -ENOMEM",
    "madvise PAGEOUT": "ok -EINVAL -ENOMEM",
    "madvise DONTNEED_LOCKED": "ok -EINVAL -ENOMEM",
    "madvise 5": "-EINVAL",
    "madvise -1": "-EINVAL",
}
# Successes of each call in a thousand programs.
SUCCESSES = 10


def missing(table, programs):
    """What the table lacks of the results that are expected."""
    least = max(1, SUCCESSES * programs // 1000)
    for call, wanted in EXPECTED.items():
        found = table.get(call, {})
        for result in wanted.split():
            if not found.get(result):
                yield f"{call} never ends with {result}"
        if "ok" in wanted.split() and found.get("ok", 0) < least:
            yield f"{call} succeeds {found.get('ok', 0)} times, not {least}"
