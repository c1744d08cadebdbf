"""The picture of this folder's README, from `results.json`: what a no-op task costs on each runner, as an SVG."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

_COLOURS = {"stock": "#b8bec8", "ours": "#2563eb", "bare": "#e2e5ea"}
_NAMES = {"stock": "Prefect's runner", "ours": "prefect-anyrunner", "bare": "the engine without Prefect"}
_LEFT, _WIDTH, _BAR, _GAP, _TOP = 80, 560, 16, 18, 54


def draw(rows: list[dict[str, Any]], path: Path, size: int = 1000) -> None:
    """Draw milliseconds per task of one map of `size` no-ops to `path`; nothing where nothing was measured."""
    cost: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row["measure"] == "overhead" and row["size"] == size:
            by_variant = cost.setdefault(row["runner"], {})
            by_variant.setdefault(row["variant"], []).append(1e3 * row["total_s"] / size)
    if not cost:
        return
    longest = max(median(values) for by_variant in cost.values() for values in by_variant.values())
    parts: list[str] = []
    y = _TOP
    for runner, by_variant in cost.items():
        shown = [variant for variant in _COLOURS if variant in by_variant]
        parts.append(_text(_LEFT - 10, y + len(shown) * _BAR / 2 + 4, runner, anchor="end", weight=600))
        for variant in shown:
            value = median(by_variant[variant])
            width = max(1.0, value / longest * (_WIDTH - 90))
            parts.append(
                f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 2}" rx="2" fill="{_COLOURS[variant]}"/>'
            )
            parts.append(
                _text(_LEFT + width + 6, y + 11, f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms", size=11)
            )
            y += _BAR
        y += _GAP
    x = float(_LEFT)
    for variant, name in _NAMES.items():
        parts.append(f'<rect x="{x}" y="30" width="11" height="11" rx="2" fill="{_COLOURS[variant]}"/>')
        parts.append(_text(x + 16, 40, name, size=11))
        x += 34 + 6.4 * len(name)
    title = _text(_LEFT, 18, f"One map of {size:,} tasks that do nothing: time per task", weight=600)
    height, width = y, _LEFT + _WIDTH
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" role="img">\n<rect width="{width}" height="{height}" fill="#fff"/>\n'
        + "\n".join([title, *parts])
        + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, *, size: int = 13, anchor: str = "start", weight: int = 400) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}" font-weight="{weight}" fill="#1f2937">{text}</text>'
