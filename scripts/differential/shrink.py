"""Makes a program that shows a difference as small as it can be."""

from dataclasses import replace


def parts(indices, size):
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def shrink(case, test):
    """The case with as few operations as still differ. `test` tells of cases which differ, all in one run."""
    kept = case.indices()
    size = max(1, len(kept) // 2)
    while True:
        dropped = parts(kept, size)
        candidates = [replace(case, kept=tuple(n for n in kept if n not in part), at_once=True) for part in dropped]
        still = [part for part, differs in zip(dropped, test(candidates)) if differs] if len(kept) > 1 else []
        if still and len(still) < len(dropped):
            # Each can be spared by itself: perhaps all of them can.
            spare = {n for part in still for n in part}
            together = replace(case, kept=tuple(n for n in kept if n not in spare), at_once=True)
            if len(still) > 1 and test([together])[0]:
                kept = together.kept
                continue
        if still:
            kept = tuple(n for n in kept if n not in still[-1])
            continue
        if size == 1:
            return replace(case, kept=kept, at_once=True)
        size //= 2
