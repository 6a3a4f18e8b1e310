"""The one way numbers and moments become words: ages, sizes, durations, rates, counts, days and clocks.

Pure functions; the forms are those of the design system: "6 h ago", "4.1 GB", "11 min 42 s", "1 h 04 min", "1,204,881".
"""

from datetime import UTC, datetime, timedelta, tzinfo

_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")
DASH = "–"  # what stands where nothing was measured


def count(n: int) -> str:
    """Return a whole number with thousands separators: 1,204,881."""
    return f"{n:,}"


def plural(n: int, one: str, many: str = "") -> str:
    """Return a count with its noun: "1 plan", "2 plans"; `many` for a plural that is not `one` + s."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def size(n: float | None) -> str:
    """Return bytes in decimal units with one digit: "512 bytes", "4.1 GB"; a dash when unknown."""
    if n is None:
        return DASH
    value = float(n)
    if abs(value) < 999.5:
        whole = round(value)
        return f"{whole} byte" if whole == 1 else f"{whole} bytes"
    for unit in _UNITS:
        value /= 1000
        if abs(value) < 999.95 or unit == _UNITS[-1]:
            return f"{value:,.1f} {unit}"
    raise AssertionError("unreachable")


def rate(bytes_per_second: float | None) -> str:
    """Return a throughput: "84.2 MB/s"; a dash when unknown."""
    return DASH if bytes_per_second is None else f"{size(bytes_per_second)}/s"


def took(duration: float | timedelta | None) -> str:
    """Return a duration (seconds or timedelta): "634 ms", "4.1 s", "11 min 42 s", "1 h 04 min", "3 days 4 h".

    A dash when it is unknown.
    """
    if duration is None:
        return DASH
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if seconds < 0:
        return f"−{took(-seconds)}"
    if seconds < 0.9995:
        return f"{round(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    whole_minutes = round(seconds / 60)
    if whole_minutes < 48 * 60:
        hours, rest = divmod(whole_minutes, 60)
        return f"{hours} h {rest:02d} min" if rest else f"{hours} h"
    days, rest = divmod(round(seconds / 3600), 24)
    return f"{days} days {rest} h" if rest else f"{days} days"


def coarse(duration: timedelta) -> str:
    """Return a duration in whole minutes, rounded up, so that a loss never sounds smaller than it is: "1 h 04 min"."""
    minutes = max(-int(-duration.total_seconds() // 60), 1)
    return took(minutes * 60)


def ago(moment: datetime | None, now: datetime, tz: tzinfo = UTC) -> str:
    """Return the age of a moment: "8 s ago", "6 h ago", "2 days ago", from a week on "12 Nov"; ahead: "in 6 h"."""
    if moment is None:
        return "never"
    seconds = (now - moment).total_seconds()
    span = _span(abs(seconds))
    if not span:
        return day(moment, tz, now)
    if abs(seconds) < 1:
        return "just now"
    return f"{span} ago" if seconds > 0 else f"in {span}"


def lasting(since: datetime, now: datetime) -> str:
    """Return how long something has been so, in one unit: "42 min", "6 h", "42 days"."""
    seconds = max((now - since).total_seconds(), 0)
    return _span(seconds) or f"{int(seconds // 86400)} days"


def since(moment: datetime, now: datetime, tz: tzinfo = UTC) -> str:
    """Return since when something is so: "since 17:12" today, "since Friday 17:12" this week, then "since 12 Nov"."""
    local = moment.astimezone(tz)
    days = (now.astimezone(tz).date() - local.date()).days
    if days <= 0:
        return f"since {local:%H:%M}"
    return f"since {local:%A %H:%M}" if days < 7 else f"since {day(moment, tz, now)}"


def day(moment: datetime, tz: tzinfo = UTC, now: datetime | None = None) -> str:
    """Return the day in a zone: "12 Nov", with the year when it is not that of `now`: "12 Nov 2025"."""
    local = moment.astimezone(tz)
    text = f"{local.day} {local:%b}"
    return text if now is None or now.astimezone(tz).year == local.year else f"{text} {local.year}"


def clock(moment: datetime, tz: tzinfo = UTC) -> str:
    """Return the time of day in a zone, 24 h: "09:41"."""
    return f"{moment.astimezone(tz):%H:%M}"


def moment(at: datetime, tz: tzinfo = UTC) -> str:
    """Return a whole moment with its zone, for papers and hover texts: "Mon 23 Nov 2026, 09:41 UTC"."""
    local = at.astimezone(tz)
    return f"{local:%a} {local.day} {local:%b %Y, %H:%M} {local.tzname()}"


def long_day(at: datetime, tz: tzinfo = UTC) -> str:
    """Return the day and time that head a page: "Monday 23 November, 09:41"."""
    local = at.astimezone(tz)
    return f"{local:%A} {local.day} {local:%B, %H:%M}"


def _span(seconds: float) -> str:
    """Return whole seconds, minutes, hours or days; empty from a week on."""
    if seconds < 60:
        return f"{int(seconds)} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min"
    if seconds < 86400:
        return f"{int(seconds // 3600)} h"
    days = int(seconds // 86400)
    if days < 7:
        return "1 day" if days == 1 else f"{days} days"
    return ""


def initials(name: str) -> str:
    """Return the one or two letters of an avatar."""
    parts = [part for part in name.split("@", 1)[0].replace(".", " ").split() if part]
    return "".join(part[0] for part in (parts[:1] + parts[-1:] if len(parts) > 1 else parts)).upper() or "?"


def hue(name: str) -> int:
    """Return the hue of an avatar, 0 to 359, the same for the same name."""
    return sum(ord(letter) * (i + 7) for i, letter in enumerate(name)) * 47 % 360
