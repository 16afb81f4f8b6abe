"""The results of a run with track ids: one object tracker for each video, stream or folder of pictures."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from vedette.core.types import Detections
from vedette.infer.sources import SourceItem
from vedette.infer.stream import PictureResult
from vedette.infer.tracking.tracker import NO_TRACK, ObjectTracker, TrackingSettings
from vedette.infer.tracking.trails import Trails

_MOST_SEQUENCES = 256
"""Sequences that are followed at a time; pictures of a tree of folders come one folder after the other."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """What is followed as one: the pictures of a video or stream, or all pictures of a folder, in the order read.

    Attributes:
        key: tells it from others.
        name: what files about it are called by.
    """

    key: str
    name: Path

    @classmethod
    def of(cls, item: SourceItem) -> Sequence:
        """That of a picture; the key of a video or stream is its path."""
        if item.frame_index is not None:
            return cls(item.path, item.file)
        folder = item.file.parent
        return cls(f"{folder.as_posix()}/", Path(folder.name.strip(".") or "pictures"))


@dataclass(slots=True)
class _Followed:
    tracker: ObjectTracker
    trails: Trails
    ids: int = 0


@dataclass(slots=True)
class Following:
    """Gives the results of a run their track ids.

    Attributes:
        settings: how detections become tracks.
        shown_above: a box without a track is left out unless its score is above this, 0..1; the weaker ones are
            there for the tracker only.
        trail_seconds: how far back the trails of drawn tracks reach; 0: none.
        track_counts: tracks so far by class name, each counted where it is first seen.
    """

    settings: TrackingSettings
    shown_above: float = 0.0
    trail_seconds: float = 0.0
    track_counts: Counter[str] = field(default_factory=Counter)
    _sequences: OrderedDict[str, _Followed] = field(default_factory=OrderedDict, init=False, repr=False)

    def results(self, results: Iterable[PictureResult]) -> Iterator[PictureResult]:
        """The same results in the same order, those with detections with track ids and trails."""
        for result in results:
            if result.event is not None:
                if result.event.kind == "ended":
                    self._sequences.pop(result.item.path, None)
                yield result
            elif result.detections is None:
                self._followed(result.item).tracker.skip()
                yield result
            else:
                yield self._tracked(result, result.detections)

    def counts(self) -> dict[str, int]:
        """Tracks so far by class name, most first."""
        return dict(self.track_counts.most_common())

    def _tracked(self, result: PictureResult, detections: Detections) -> PictureResult:
        followed = self._followed(result.item)
        found = followed.tracker.update(detections, result.item.time_ms)
        ids = found.track_ids
        assert ids is not None, "the tracker gives ids"
        # Ids are given out in rising order where a track is first seen with one.
        for row in (ids > followed.ids).nonzero()[0]:
            self.track_counts[found.class_names[int(found.class_ids[row])]] += 1
        followed.ids = max(followed.ids, int(ids.max(initial=0)))
        shown = found.chosen((ids != NO_TRACK) | (found.scores > self.shown_above))
        trails = followed.trails.after(shown, followed.tracker.seconds)
        return replace(result, detections=shown, trails=trails)

    def _followed(self, item: SourceItem) -> _Followed:
        key = Sequence.of(item).key
        if key not in self._sequences:
            self._sequences[key] = _Followed(ObjectTracker(self.settings), Trails(self.trail_seconds))
            if len(self._sequences) > _MOST_SEQUENCES:
                self._sequences.popitem(last=False)
        self._sequences.move_to_end(key)
        return self._sequences[key]
