"""`gr cma`: the CMA areas (src/mm/cma)."""

from .page import phys
from .target import read
from .values import static

COMPLETE = 2


def is_set(once):
    """Whether a `spin::Once` has its value."""
    return once["status"].int() == COMPLETE


def areas():
    """The declared areas: (place, what they were declared as)."""
    for place in static("granule::mm::cma::AREAS"):
        if not is_set(place["declared"]):
            return
        yield place, place["declared"]["data"].inner()


def longest_clear(bits, count):
    """The longest run of zeros in the low `count` bits."""
    longest = run = 0
    for n in range(count):
        run = 0 if bits >> n & 1 else run + 1
        longest = max(longest, run)
    return longest


def show():
    """The lines of `gr cma`; all but the second of each area are the kernel's."""
    default = static("granule::mm::cma::DEFAULT")
    chosen = default["data"].inner().int() if is_set(default) else None
    found = False
    for place, declared in areas():
        found = True
        name = declared["name"]
        text = read(name["xs"].address, name["len"].int()).decode("utf-8", "replace")
        start, end = declared["range"].range()
        order = declared["order_per_bit"].int()
        count = end - start >> order
        words = place["words"].some()
        allocated = longest = 0
        if words is not None:
            size = (count + 63) // 64 * 8
            bits = int.from_bytes(read(words["data_ptr"].int(), size), "little")
            bits &= (1 << count) - 1
            allocated = bin(bits).count("1") << order
            longest = longest_clear(bits, count) << order
        yield (
            f"{text:<16} [{phys(start):#x}..{phys(end):#x}) pages {end - start} "
            f"allocated {allocated} longest free {longest}"
            f"{'' if words is not None else '  not in use'}"
            f"{'  default' if chosen == place.address else ''}"
        )
        yield (
            f"  {1 << order} pages a bit; {place['successes'].int()} allocations succeeded, "
            f"{place['failures'].int()} failed"
        )
        if place["successes"].int() + place["failures"].int() > 0:
            yield (
                f"  allocations {place['successes'].int()} failed {place['failures'].int()}  "
                f"pages {place['pages_succeeded'].int()} failed {place['pages_failed'].int()} "
                f"released {place['pages_released'].int()}"
            )
    if not found:
        yield "no CMA areas: none is declared (cma=SIZE on the command line declares one)"
