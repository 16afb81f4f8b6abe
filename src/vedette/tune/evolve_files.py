"""``evolve.txt`` and ``hyp_evolved.yaml`` as the published evolution writes them, for scripts that read them.

Specification training.md section 13. A new row is appended with 4 digits for its results and 3 for its values; then
the file is read again, sorted by fitness and rewritten with 3 digits everywhere. The YAML file shows the best row
as it was read, so its digits depend on when the row came. :func:`with_generation` is one such step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

RESULT_NAMES = ("P", "R", "mAP50", "mAP", "val box", "val obj", "val cls")
"""The first seven columns."""


def with_generation(
    evolve_text: str, results: Sequence[float], values: Mapping[str, float]
) -> tuple[str, str]:
    """Add one training run.

    Args:
        evolve_text: the file so far, empty at first.
        results: the seven :data:`RESULT_NAMES` of the run.
        values: its hyperparameters in the order of the columns, the same names in every call.

    Returns:
        The new text of ``evolve.txt``, best row first, and that of ``hyp_evolved.yaml``.
    """
    appended = [*(f"{value:.4g}" for value in results), *(f"{value:.3g}" for value in values.values())]
    lines = [line.split() for line in evolve_text.splitlines() if line.strip()]
    rows = sorted(
        {tuple(float(word) for word in words) for words in [*lines, appended]}, key=_fitness, reverse=True
    )
    text = "".join(" ".join(f"{value:10.3g}" for value in row) + "\n" for row in rows)
    return text, _yaml_text(rows, list(values))


def _fitness(row: Sequence[float]) -> float:
    ap50, ap = row[RESULT_NAMES.index("mAP50")], row[RESULT_NAMES.index("mAP")]
    return 0.1 * ap50 + 0.9 * ap


def _yaml_text(rows: Sequence[Sequence[float]], names: Sequence[str]) -> str:
    best = rows[0]
    metrics = "".join(f"{value:10.4g}" for value in best[: len(RESULT_NAMES)])
    lines = [
        "# Hyperparameter Evolution Results",
        f"# Generations: {len(rows)}",
        f"# Metrics: {metrics}",
        "",
        *(f"{name}: {value}" for name, value in zip(names, best[len(RESULT_NAMES) :], strict=True)),
    ]
    return "\n".join(lines) + "\n"
