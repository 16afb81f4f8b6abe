"""Frames between the run and a tracker's process."""

from __future__ import annotations

import io

import pytest

from vedette.track.child import FRAME_HEADER, read_frame


def test_frames_come_back_one_by_one() -> None:
    stream = io.BytesIO(b"".join(FRAME_HEADER.pack(len(part)) + part for part in (b"first", b"", b"third")))
    assert [read_frame(stream) for _ in range(4)] == [b"first", b"", b"third", None]


@pytest.mark.parametrize("cut", [1, 8, 10])
def test_a_cut_frame_is_the_end(cut: int) -> None:
    assert read_frame(io.BytesIO((FRAME_HEADER.pack(5) + b"first")[:cut])) is None
