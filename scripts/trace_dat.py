#!/usr/bin/env python3
"""Makes a file that trace-cmd opens of what a kernel wrote for granule.trace_file=.

    scripts/trace_dat.py RAW OUT.dat         trace.dat, version 6 (trace-cmd.dat.v6(5))
    scripts/trace_dat.py --text RAW          the kernel's own text
    scripts/trace_dat.py --json RAW OUT      Chrome's trace events, which Perfetto opens

RAW holds the kernel's files and pages as they are: none of it is interpreted here, but for
--json, which reads the text.
"""

import json
import re
import struct
import sys
from pathlib import Path

PAGE_SIZE = 4096
HEAD = b"granule trace 1\n"


class Wrong(Exception):
    """What is wrong with the input."""


def read_parts(raw):
    """The parts, in order: names and bytes."""
    if not raw.startswith(HEAD):
        raise Wrong("this is no file that a kernel wrote for granule.trace_file=")
    at, parts = len(HEAD), []
    while True:
        end = raw.find(b"\n", at)
        if end < 0:
            raise Wrong("it ends before its end: the kernel was stopped, or the disk is full")
        name, length = raw[at:end].decode().split()
        at = end + 1 + int(length)
        if at > len(raw):
            raise Wrong(f"it ends in the middle of {name}")
        if name == "end":
            return parts
        parts.append((name, raw[end + 1 : at]))


def sized(data, size="<Q"):
    return struct.pack(size, len(data)) + data


def trace_dat(parts):
    """The bytes of a trace.dat."""
    of = dict(parts)
    cpus = [data for name, data in parts if re.fullmatch(r"cpu\d+", name)]
    while len(cpus) > 1 and not cpus[-1]:
        cpus.pop()
    systems = {}
    for name, data in parts:
        if data.startswith(b"name: "):
            systems.setdefault(name, []).append(data)
    out = b"\x17\x08\x44tracing6\0" + struct.pack("<BBI", 0, 8, PAGE_SIZE)
    out += b"header_page\0" + sized(of["header_page"])
    out += b"header_event\0" + sized(of["header_event"])
    # No formats of ftrace's own kinds of records.
    out += struct.pack("<II", 0, len(systems))
    for name, formats in systems.items():
        out += name.encode() + b"\0" + struct.pack("<I", len(formats))
        out += b"".join(sized(text) for text in formats)
    symbols = sorted(of["kallsyms"].splitlines())
    out += sized(b"".join(line + b"\n" for line in symbols), "<I")
    # No formats of trace_printk.
    out += struct.pack("<I", 0)
    out += sized(of["saved_cmdlines"])
    out += struct.pack("<I", len(cpus))
    out += b"options  \0" + struct.pack("<H", 0)
    out += b"flyrecord\0"
    at = len(out) + 16 * len(cpus)
    at += -at % PAGE_SIZE
    table, body = b"", b""
    for pages in cpus:
        table += struct.pack("<QQ", at + len(body), len(pages))
        body += pages
    out += table
    return out + b"\0" * (-len(out) % PAGE_SIZE) + body


LINE = re.compile(r" *(.+)-(\d+) +\[(\d+)\] \S+ +(\d+\.\d+): (\w+): (.*)")


def chrome_json(parts):
    """Events as Chrome has them: an instant for each, by CPU, and the pages in use as a counter
    from where the trace begins."""
    systems = {}
    for system, data in parts:
        match = re.match(rb"name: (\w+)\n", data)
        if match:
            systems[match[1].decode()] = system
    events, pages = [], 0
    for line in dict(parts)["trace"].decode().splitlines():
        match = LINE.fullmatch(line)
        if not match:
            continue
        comm, pid, cpu, time, name, text = match.groups()
        args = dict(re.findall(r"(\w+)[=:] ?(\S+)", text))
        time = round(float(time) * 1e6)
        events.append(
            {"name": name, "cat": systems[name], "ph": "i", "s": "t", "ts": time, "pid": 0}
            | {"tid": int(cpu), "args": {**args, "thread": f"{comm}-{pid}"}}
        )
        if name in ("mm_page_alloc", "mm_page_free") and args["page"] != "0":
            pages += (1 if name == "mm_page_alloc" else -1) << int(args["order"])
            count = {"name": "pages", "ph": "C", "ts": time, "pid": 0, "args": {"pages": pages}}
            events.append(count)
    names = [
        {"name": "thread_name", "ph": "M", "pid": 0, "tid": cpu, "args": {"name": f"CPU {cpu}"}}
        for cpu in sorted({event["tid"] for event in events if "tid" in event})
    ]
    return {"displayTimeUnit": "ns", "traceEvents": names + events}


def main():
    try:
        match sys.argv[1:]:
            case ["--text", raw]:
                sys.stdout.write(dict(read_parts(Path(raw).read_bytes()))["trace"].decode())
            case ["--json", raw, out]:
                text = json.dumps(chrome_json(read_parts(Path(raw).read_bytes())))
                Path(out).write_text(text + "\n")
            case [raw, out] if not raw.startswith("-"):
                Path(out).write_bytes(trace_dat(read_parts(Path(raw).read_bytes())))
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except (Wrong, OSError) as why:
        print(f"error: {why}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
