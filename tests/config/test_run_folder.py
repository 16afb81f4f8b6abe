import json
import sys
import threading
from pathlib import Path

import pytest

from vedette.config.run_folder import create_run_folder, next_run_folder
from vedette.errors import UsageError, WriteError

GOLDEN = Path(__file__).parents[1] / "golden" / "training" / "13-paths.json"
# Golden T13.5, last case: the reference does not see the number of a dotted name and reuses my.run2.
# The specification (inference.md section 5) asks to look for it after the full name.
CORRECTED = {"my.run2": "my.run3"}


def golden_cases():
    case = next(case for case in json.loads(GOLDEN.read_text())["cases"] if case["id"] == "T13.5")
    return list(zip(case["input"], case["expected"], strict=True))


@pytest.mark.parametrize(("given", "expected"), golden_cases())
def test_golden_13_run_directory_increment(tmp_path, given, expected):
    for name in given["existing"]:
        (tmp_path / name).mkdir()
    if expected in given["existing"] and not given["exist_ok"]:
        expected = CORRECTED[expected]
    assert next_run_folder(tmp_path, given["name"], given["exist_ok"]) == tmp_path / expected


def test_nothing_is_created_by_looking(tmp_path):
    assert next_run_folder(tmp_path / "runs", "exp") == tmp_path / "runs" / "exp"
    assert not (tmp_path / "runs").exists()


def test_a_file_is_a_taken_name(tmp_path):
    (tmp_path / "exp").write_text("")
    assert next_run_folder(tmp_path, "exp") == tmp_path / "exp2"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_dangling_link_is_a_taken_name(tmp_path):
    (tmp_path / "exp").symlink_to(tmp_path / "nowhere")
    assert next_run_folder(tmp_path, "exp") == tmp_path / "exp2"


def test_signs_with_a_meaning_in_patterns_are_plain_letters(tmp_path):
    for name in ("a+b[1]", "aab12"):
        (tmp_path / name).mkdir()
    assert next_run_folder(tmp_path, "a+b[1]").name == "a+b[1]2"


def test_name_with_a_folder_counts_in_that_folder(tmp_path):
    (tmp_path / "group" / "exp").mkdir(parents=True)
    assert next_run_folder(tmp_path, "group/exp") == tmp_path / "group" / "exp2"


@pytest.mark.parametrize("name", ["", "  ", ".", "..", "a/.."])
def test_names_that_are_no_folder_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="--name"):
        next_run_folder(tmp_path, name)


def test_create_makes_parents_and_counts_up(tmp_path):
    made = [create_run_folder(tmp_path / "runs" / "detect", "exp").name for _ in range(3)]
    assert made == ["exp", "exp2", "exp3"]
    assert create_run_folder(tmp_path / "runs" / "detect", "exp2", exist_ok=True).name == "exp2"


def test_runs_that_start_together_get_different_folders(tmp_path):
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(create_run_folder(tmp_path, "exp"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in made) == ["exp", *(f"exp{number}" for number in range(2, 9))]


def test_a_file_in_the_way_is_a_write_error(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(WriteError, match="runs"):
        create_run_folder(tmp_path / "runs", "exp")
    with pytest.raises(WriteError, match="is a file"):
        create_run_folder(tmp_path, "runs", exist_ok=True)
