"""Times as people read them."""

from __future__ import annotations

import math


def format_seconds(seconds: float) -> str:
    """``59s``, ``4m05s``, ``3h07m``; ``?`` for what is not a time."""
    if not math.isfinite(seconds):
        return "?"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
