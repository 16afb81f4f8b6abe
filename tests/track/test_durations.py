"""Times are short and never wrong by a unit."""

from __future__ import annotations

import pytest

from vedette.track.durations import format_seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.4, "59s"), (245, "4m05s"), (11_220, "3h07m"), (float("inf"), "?")]
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
