"""What an evaluation found as YOLO text files, one a picture (specification ``evaluation.md`` section 6)."""

from __future__ import annotations

from pathlib import Path

from vedette.checkpoint.atomic import write_atomic, write_error
from vedette.core.types import Detections
from vedette.evaluate.result import Evaluation
from vedette.infer.writers import OutputNames, yolo_lines


def write_label_files(evaluation: Evaluation, folder: Path, *, scores: bool) -> int:
    """Write ``folder/NAME.txt`` for every picture in which something was found.

    Lines are ``class cx cy w h`` and, if asked for, the score, with six significant digits; best box first. Of two
    pictures of one name the second gets a number.

    Args:
        evaluation: what was found.
        folder: is created.
        scores: add the score as last column.

    Returns:
        How many files were written.

    Raises:
        WriteError: the folder or a file cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise write_error(error, folder) from None
    names, written = OutputNames(), 0
    found = evaluation.predictions
    for number, path in enumerate(evaluation.image_paths):
        rows = slice(*found.offsets[number : number + 2].tolist())
        height, width = evaluation.truth.sizes_hw[number].tolist()
        detections = Detections(
            boxes_xyxy_px=found.boxes_xyxy_px[rows],
            scores=found.scores[rows],
            class_ids=found.class_ids[rows],
            class_names=tuple(result.name for result in evaluation.per_class),
            size_hw=(height, width),
        )
        name = names.take(Path(path).stem, ".txt")
        if len(detections):
            lines = yolo_lines(detections, scores=scores)
            write_atomic(folder / name, "".join(f"{line}\n" for line in lines).encode("ascii"))
            written += 1
    return written
