"""HTML and SVG as text: what is not marked as markup is escaped."""

import html

VOID = {"rect", "path", "line", "use", "circle", "input"}


class Markup(str):
    """Text that is markup already."""


def escape(value):
    """Text as markup."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def tag(name, *content, **attributes):
    """An element. `cls` is its class, `_` in other names is `-`; attributes that are False or
    None are left out."""
    parts = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = {"cls": "class", "viewBox": "viewBox"}.get(key, key.rstrip("_").replace("_", "-"))
        parts.append(f" {key}" if value is True else f' {key}="{html.escape(str(value))}"')
    inside = "".join(escape(part) for part in content)
    if name in VOID and not inside:
        return Markup(f"<{name}{''.join(parts)}/>")
    return Markup(f"<{name}{''.join(parts)}>{inside}</{name}>")


def told(text):
    """The attributes of an element that explains itself when it is pointed at, or has the
    focus."""
    return {"data_tip": text, "tabindex": 0, "aria_label": text, "role": "img"}


def bytes_of(number):
    """A size in the largest unit that leaves a number of at least 1."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            break
        number /= 1024
    digits = 0 if number >= 100 or number == int(number) else 1
    return f"{number:.{digits}f} {unit}"


def size(pages):
    """The size of some pages."""
    return bytes_of(pages * 4096)


def number(value):
    """A number with thin spaces between its thousands."""
    return f"{value:,}".replace(",", "\u202f")


def percent(part, whole):
    """A share of a whole."""
    share = 100 * part / whole if whole else 0
    if 0 < share < 0.1:
        return "< 0.1 %"
    return f"{share:.1f} %" if 0 < share < 10 else f"{share:.0f} %"


def phys(pfn):
    """The physical address of a frame."""
    return f"{pfn << 12:#x}"


def when(microseconds):
    """A time since the start."""
    return f"{microseconds / 1e6:.2f} s"


def plural(count, one, many=None):
    """A number of things."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"
