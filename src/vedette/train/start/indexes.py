"""The data set of a run: its splits, and the list of what is wrong with them."""

from __future__ import annotations

from vedette.checkpoint.atomic import write_atomic
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, load_index
from vedette.train.distributed.ranks import Ranks
from vedette.train.events import Emitter
from vedette.train.folder.run_files import RunFiles

_SHOWN = 5


def load_indexes(files: RunFiles, emitter: Emitter, ranks: Ranks) -> tuple[SplitIndex, SplitIndex]:
    """The training split, and the split to measure on, the same on all ranks.

    What is wrong with them is listed in the run folder; the first bad rows are shown.

    Raises:
        DataError: the data set cannot be used.
        UsageError: ranks on different machines have different data.
    """
    config = files.config
    with ranks.one_per_machine_first("indexes"):
        description = load_description(config.data)
        train_index = load_index(description, "train", on_bad_label=config.on_bad_label)
        val_index = load_index(description, "val", on_bad_label=config.on_bad_label)
    if config.single_cls:
        train_index, val_index = train_index.as_single_class(), val_index.as_single_class()
    defects = [*train_index.defects, *val_index.defects]
    write_atomic(files.bad_labels, "".join(f"{defect}\n" for defect in defects).encode("utf-8", "replace"))
    for index in (train_index, val_index):
        _tell(index, files, emitter)
    for words, index in (("the training pictures", train_index), ("the validation pictures", val_index)):
        ranks.require_same(words, index.content_hash, fix="give every machine the same data set")
    return train_index, val_index


def _tell(index: SplitIndex, files: RunFiles, emitter: Emitter) -> None:
    for note in index.notes:
        emitter.note(note)
    bad = [defect for defect in index.defects if defect.bad]
    for defect in bad[:_SHOWN]:
        emitter.note(f"left out: {defect}", "warning")
    if len(bad) > _SHOWN:
        emitter.note(f"... and {len(bad) - _SHOWN} more of {index.split}: see {files.bad_labels}", "warning")
