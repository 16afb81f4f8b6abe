"""Lanes: how many pictures are in the network at the same time, each on its share of the CPU's threads.

One network on all cores leaves some idle: layers end together, small ones do not fill the cores, and between two
networks pictures are prepared and boxes picked. Several at once fill the gaps, but each takes longer, so whoever waits
for one picture is better off with one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.core.device import thread_count
from vedette.errors import UsageError

if TYPE_CHECKING:
    from vedette.config.detect import DetectConfig
    from vedette.infer.sources import Source

MOST_LANES = 8
"""That are chosen without being asked for: each holds the maps of a network, and Python prepares for all of them."""


def usual_lanes(threads: int = 0, pictures: int | None = None) -> int:
    """Lanes that pass most pictures: one a thread.

    Args:
        threads: of the CPU; 0: all.
        pictures: how many there are; None: many.
    """
    most = thread_count(threads) if pictures is None else min(thread_count(threads), pictures)
    return max(1, min(most, MOST_LANES))


def chosen_lanes(config: DetectConfig, source: Source, gains: bool) -> int:
    """Lanes for what is to be looked at; where that happens while it is seen, or is looked at in tiles, one.

    Args:
        config: what was asked for.
        source: what is to be looked at.
        gains: whether more pictures pass what runs the network when several threads call it at once; if not, there is
            one lane, unless more are asked for.

    Raises:
        UsageError: lanes were asked for that the source, or the number of threads, has no place for.
    """
    check_lanes(config.lanes, config.threads)
    if source.streams:
        if config.lanes > 1:
            raise UsageError(
                "pictures of a stream or camera would come late",
                where=f"--lanes {config.lanes}",
                fix="leave it out, or run what is no stream by itself",
            )
        return 1
    if config.lanes:
        return config.lanes
    if not gains or config.tile is not None:  # with tiles, each lane would hold a picture that may be huge
        return 1
    return usual_lanes(config.threads, None if source.videos else len(source.items) + len(source.arrays))


def check_lanes(lanes: int, threads: int) -> None:
    """Raises UsageError if there are fewer threads (0: all of the machine) than lanes that were asked for."""
    most = thread_count(threads)
    if lanes > most:
        raise UsageError(
            f"there are {most} threads, and each lane needs one",
            where=f"--lanes {lanes}",
            fix=f"give at most {most}, or more --threads",
        )


def lanes_on(device: object, wanted: int, asked: int) -> int:
    """``wanted`` on the CPU; elsewhere one. ``asked``: what the user named, 0: nothing. Raises UsageError."""
    if str(device) == "cpu":
        return wanted
    if asked > 1:
        raise UsageError(
            f"lanes share the threads of the CPU, and the network runs on {device}",
            where=f"--lanes {asked}",
            fix="leave it out; --batch-size keeps a GPU busy",
        )
    return 1
