"""Golden 22: evolve.txt and hyp_evolved.yaml after each generation, to the character."""

import json
from pathlib import Path

import yaml

from vedette.tune.evolve_files import with_generation

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "training" / "22-evolve-files.json").read_text(encoding="utf-8")
)


def test_golden_22() -> None:
    text = ""
    for case in GOLDEN["cases"]:
        text, evolved = with_generation(text, case["input"]["results"], case["input"]["hyp"])
        assert text == case["expected"]["evolve_txt"], case["id"]
        assert evolved == case["expected"]["hyp_evolved_yaml"], case["id"]


def test_the_same_run_twice_is_one_row() -> None:
    results, values = [0.5, 0.5, 0.4, 0.3, 0, 0, 0], {"lr0": 0.01}
    text, _ = with_generation("", results, values)
    again, evolved = with_generation(text, results, values)
    assert again == text
    assert yaml.safe_load(evolved) == values
