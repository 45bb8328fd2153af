"""The size of an audience over time as a line: points in a box, and the few labels that say what they stand for."""

from collections.abc import Sequence
from dataclasses import dataclass

from engage_pipelines.domain.instants import to_datetime

WIDTH, HEIGHT = 640, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 12, 8


@dataclass(frozen=True, slots=True)
class Point:
    """One version in the box, with what it says."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """`line` and `area` are SVG paths; `most` is the size at the top, the bottom is 0."""

    line: str
    area: str
    points: tuple[Point, ...]
    most: int
    first: str
    last: str
    summary: str


def size_chart(sizes: Sequence[tuple[int, int]]) -> Chart | None:
    """From (instant in UTC microseconds, members), oldest first; None when there is no line to draw."""
    if len(sizes) < 2:
        return None
    began, ended = sizes[0][0], sizes[-1][0]
    most = max(size for _, size in sizes) or 1
    width, height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def place(order: int, at_us: int, size: int) -> Point:
        along = (at_us - began) / (ended - began) if ended > began else order / (len(sizes) - 1)
        text = f"{to_datetime(at_us):%Y-%m-%d %H:%M} UTC: {size:,} {'member' if size == 1 else 'members'}"
        return Point(round(_LEFT + along * width, 1), round(_TOP + (1 - size / most) * height, 1), text)

    points = tuple(place(order, *each) for order, each in enumerate(sizes))
    steps = f"M{points[0].x} {points[0].y}" + "".join(f"H{point.x}V{point.y}" for point in points[1:])
    floor = HEIGHT - _BOTTOM
    first, last = (f"{to_datetime(at_us):%Y-%m-%d}" for at_us in (began, ended))
    return Chart(
        line=steps,
        area=f"{steps}V{floor}H{points[0].x}Z",
        points=points,
        most=most,
        first=first,
        last=last,
        summary=f"From {sizes[0][1]:,} on {first} to {sizes[-1][1]:,} on {last}; at most {most:,}.",
    )
