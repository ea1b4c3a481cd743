"""Programs of tests/programs/memcalls, and what they have printed."""

import re
from dataclasses import dataclass

OPERATIONS = 40
MODES = ("calls", "signals", "fatal", "layout")


class Wrong(Exception):
    """Something that ends the run, in words for whoever runs it."""


@dataclass(frozen=True)
class Case:
    """A program: a mode and a seed; of its operations those in `kept`, or all."""

    mode: str
    seed: int
    kept: tuple = None
    operations: int = OPERATIONS
    # Each operation is printed before the next one begins.
    at_once: bool = False

    def words(self):
        """The arguments of memcalls."""
        words = [self.mode, str(self.seed)]
        if self.kept is not None or self.at_once or self.operations != OPERATIONS:
            words.append(str(self.operations))
        if self.kept is not None:
            words.append(ranges(self.kept))
        return words

    def indices(self):
        return tuple(range(self.operations)) if self.kept is None else self.kept

    def __str__(self):
        return " ".join(self.words())


def ranges(numbers):
    """(0, 1, 2, 5) as `0-2,5`; of none, a number that is no operation's."""
    parts = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts) or "999999"


def numbers(text):
    """The reverse of ranges()."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return tuple(found)


def case_of(line):
    """The case that a line of arguments stands for."""
    words = line.split()
    if len(words) not in (2, 3, 4) or words[0] not in MODES or not words[1].isdigit():
        raise Wrong(f"not a program: {line!r}; write MODE SEED [OPERATIONS [KEPT]]")
    kept = numbers(words[3]) if len(words) == 4 else None
    operations = int(words[2]) if len(words) > 2 else OPERATIONS
    return Case(words[0], int(words[1]), kept, operations, len(words) > 2)


def cases_of(lines):
    """The cases of a file's lines, without comments."""
    plain = (line.split("#")[0].strip() for line in lines)
    return [case_of(line) for line in plain if line]


BEGIN = re.compile(rf"== ({'|'.join(MODES)}) (\d+) \w+$")


def split_output(text, cases):
    """What each of the cases has printed, as lists of lines; None for those that have nothing.

    The cases ran in this order. A program that died has no last line, and what the first process
    says about it belongs to it."""
    outputs = [None] * len(cases)
    position, current = -1, None
    for line in text.replace("\r", "").split("\n"):
        if match := BEGIN.match(line):
            key = match[1], int(match[2])
            after = range(position + 1, len(cases))
            position = next((n for n in after if (cases[n].mode, cases[n].seed) == key), None)
            if position is None:
                raise Wrong(f"an output that nobody asked for: {line}")
            current = outputs[position] = []
        if line == "== done":
            break
        if current is not None and line:
            current.append(line)
    return outputs
