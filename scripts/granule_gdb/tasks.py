"""`gr tasks`: all tasks but the idle ones, by their pids (src/sched/pids.rs). The lines are those of
`ps` at the kernel's prompt, to the letter (src/sched/task_line.rs)."""

from .target import read
from .values import static, typed

TASK = "granule::sched::task::Task"
LIVE = 1
LETTERS = {1: "R", 2: "S", 4: "D", 12: "D"}
WALK_LIMIT = 1 << 16
TITLE = "  PID S CPU  NI KIND       TIME FLAGS NAME"


def comm(task):
    """A task's name."""
    return read(task["comm"].inner().address, 16).split(b"\0")[0].decode("utf-8", "replace")


def line(task):
    """A task as a line."""
    state = LETTERS.get(task["state"].int(), "?") if task["life"].int() == LIVE else "X"
    nice = task["nice"].int()
    hundredths = task["runtime"].int() // 10_000_000
    return (
        f"{task['pid'].int():>5} {state} {task['cpu'].int():>3} {nice - (nice >> 7 << 8):>3} "
        f"{'user' if task['mm'].int() else 'kernel':<6} {hundredths // 100:>5}.{hundredths % 100:02} "
        f"{task['flags'].int():#05x} {comm(task)}"
    )


def tasks():
    """All tasks of the table of pids, and '!' lines of what is wrong with it."""
    table = static("granule::sched::pids::PIDS").inner()
    found, faults = [], []
    for number, bucket in enumerate(table["tasks"]):
        address, count = bucket["first"].int(), 0
        while address and count < WALK_LIMIT:
            task = typed(TASK, address)
            if task["pid"].int() % len(table["tasks"]) != number:
                faults.append(f"! the task at {address:#x} has pid {task['pid'].int()}, and is on list {number}")
            found.append(task)
            address, count = task["links"][1]["next"].int(), count + 1
        if count != bucket["len"].int():
            faults.append(f"! list {number} has {count} tasks, and counts {bucket['len'].int()}")
    if len(found) != table["len"].int():
        faults.append(f"! the table has {len(found)} tasks, and counts {table['len'].int()}")
    return sorted(found, key=lambda task: task["pid"].int()), faults


def show():
    """The lines of `gr tasks`."""
    found, faults = tasks()
    yield TITLE
    for task in found:
        yield line(task)
    yield from faults
