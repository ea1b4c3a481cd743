"""Tries the comparison on outputs made here: each alteration of one must be seen."""

from . import compare, shrink, table
from .cases import Case, Wrong, case_of, cases_of, numbers, ranges, split_output

OUTPUT = """== calls 7 merge
files 0 0
0 mmap(a+0x1000, 0x3000, rw-, PRIVATE|FIXED|ANONYMOUS) = a+0x1000
  + a+0x1000 a+0x4000 rw-p 0x0
1 mprotect(a+0x2000, 0x1000, r--) = 0
  - a+0x1000 a+0x4000 rw-p 0x0
  + a+0x1000 a+0x2000 rw-p 0x0
  + a+0x2000 a+0x3000 r--p 0x0
  + a+0x3000 a+0x4000 rw-p 0x0
2 write a+0x2010 = -EFAULT
  status VmPeak+12 VmSize+12
  memory . 0 0x1234
== end calls 7
== fatal 8 any
0 munmap(a+0x0, 0x1) = -EINVAL
bare access 1 a+0x0
== status 139
== done
"""
CASES = [Case("calls", 7), Case("fatal", 8)]


def alterations():
    """OUTPUT with one line left out, one twice, or one character another."""
    lines = OUTPUT.splitlines()
    first, last = 2, lines.index("== end calls 7")
    for index in range(first, last):
        line = lines[index]
        yield lines[:index] + lines[index + 1 :]
        yield lines[:index] + [line, line] + lines[index + 1 :]
        for at in range(len(line)):
            yield [*lines[:index], line[:at] + "~" + line[at + 1 :], *lines[index + 1 :]]


def comparison():
    found = split_output(OUTPUT, CASES)
    assert [len(lines) for lines in found] == [13, 4], found
    assert found[1][-1] == "== status 139"
    assert not compare.differs(found[0], list(found[0]))
    assert split_output(OUTPUT.replace("\n", "\r\n"), CASES) == found
    count = 0
    for lines in alterations():
        other = split_output("\n".join(lines), CASES)[0]
        assert compare.differs(found[0], other), lines
        shown = "\n".join(compare.explain(CASES[0], found[0], other))
        assert "\nL   " in shown or "\nG   " in shown, shown
        count += 1
    # A program that died, or never began.
    cut = split_output("\n".join(OUTPUT.splitlines()[:5] + ["== status 139", "== done"]), CASES)
    assert cut[1] is None and compare.differs(found[0], cut[0]) and compare.differs(found[1], cut[1])
    assert "no output" in "\n".join(compare.explain(CASES[1], found[1], None))
    return count


def unasked():
    try:
        split_output(OUTPUT, CASES[:1])
    except Wrong:
        return
    raise AssertionError("an output that nobody asked for is taken")


def allowed():
    """A pattern takes out what it says, and nothing else."""
    before = compare.ALLOWED
    compare.ALLOWED = ((r" VmPeak\+\d+", "", "a sample"),)
    try:
        found = split_output(OUTPUT, CASES)[0]
        assert not compare.differs(found, [line.replace("VmPeak+12", "VmPeak+16") for line in found])
        assert compare.differs(found, [line.replace("VmSize+12", "VmSize+16") for line in found])
    finally:
        compare.ALLOWED = before


def names():
    for text in ("0", "0-3,5", "1,3,5-6", "0-39"):
        assert ranges(numbers(text)) == text, text
    for line in ("calls 3", "signals 4 40 0-2,7", "fatal 9 12"):
        assert str(case_of(line)) == line, line
    assert ranges(()) == "999999"
    assert cases_of(["# nothing", "calls 3 # why", ""]) == [Case("calls", 3)]
    for line in ("calls", "call 3", "calls x", "calls 1 2 3 4"):
        try:
            case_of(line)
        except Wrong:
            continue
        raise AssertionError(f"{line!r} is taken for a program")


def distribution():
    lines = OUTPUT.splitlines() + ["3 madvise(a+0x0, 0x1000, FREE) = -EINVAL", "4 read a+0x0 = SIGSEGV code 1 a+0x0"]
    found = table.count([lines])
    assert found["mmap"] == {"ok": 1} and found["munmap"] == {"-EINVAL": 1} and found["write"] == {"-EFAULT": 1}
    assert found["madvise FREE"] == {"-EINVAL": 1} and found["read"] == {"SIGSEGV code 1": 1}, found
    lacks = list(table.missing(found, 1))
    assert "munmap never ends with ok" in lacks and "munmap never ends with -EINVAL" not in lacks


def shrinking():
    """Of a difference that operations 3 and 17 make together, with 30 left alone, those two remain."""

    def test(cases):
        return [{3, 17} <= set(case.indices()) for case in cases]

    small = shrink.shrink(Case("calls", 1), test)
    assert small.kept == (3, 17), small
    assert shrink.shrink(Case("calls", 1, (3, 17)), test).kept == (3, 17)


def run():
    count = comparison()
    unasked()
    allowed()
    names()
    distribution()
    shrinking()
    return count
