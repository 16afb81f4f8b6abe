import pytest
import torch

from tests.checkpoint.test_atomic import FailingDisk
from vedette.checkpoint.atomic import TEMPORARY_SUFFIX
from vedette.checkpoint.state_folder import StateFolder
from vedette.errors import CheckpointError, WriteError


def save(folder, step):
    return folder.save(step, {"w": torch.full((500,), float(step))}, {"seen": step})


def damage(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)


def test_the_newest_state_comes_back(tmp_path):
    folder = StateFolder(tmp_path / "state")
    assert folder.load_latest() is None
    for step in (5, 10, 15):
        save(folder, step)
    state = folder.load_latest()
    assert (state.step, state.metadata, state.skipped) == (15, {"seen": 15}, ())
    assert torch.equal(state.tensors["w"], torch.full((500,), 15.0))


def test_the_last_two_are_kept(tmp_path):
    folder = StateFolder(tmp_path)
    paths = [save(folder, step) for step in (1, 2, 3, 4)]
    assert sorted(tmp_path.iterdir()) == paths[2:]


def test_a_damaged_state_is_skipped_loudly(tmp_path):
    folder = StateFolder(tmp_path)
    save(folder, 1)
    newest = save(folder, 2)
    damage(newest)
    state = folder.load_latest()
    assert state.step == 1
    assert state.skipped[0][0] == newest
    assert "checksum" in state.skipped[0][1]


def test_a_renamed_state_is_not_taken_for_another_step(tmp_path):
    folder = StateFolder(tmp_path)
    path = save(folder, 1)
    path.rename(tmp_path / "state-000000000009.safetensors")
    with pytest.raises(CheckpointError, match="another step"):
        folder.load_latest()


def test_all_damaged_is_an_error_with_reasons(tmp_path):
    folder = StateFolder(tmp_path)
    for step in (1, 2):
        damage(save(folder, step))
    with pytest.raises(CheckpointError, match=r"no saved state is intact .*state-000000000002.*checksum"):
        folder.load_latest()


def test_states_of_an_abandoned_future_go_when_the_run_goes_on(tmp_path):
    folder = StateFolder(tmp_path)
    save(folder, 10)
    damage(save(folder, 20))
    resumed = folder.load_latest().step
    save(folder, resumed + 5)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "state-000000000010.safetensors",
        "state-000000000015.safetensors",
    ]
    assert folder.load_latest().step == 15


def test_other_files_are_left_alone_and_stale_temporaries_removed(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "state-7.safetensors").write_text("not ours")
    (tmp_path / f".state-1.ab{TEMPORARY_SUFFIX}").write_text("half")
    folder = StateFolder(tmp_path)
    saved = save(folder, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "state-7.safetensors", saved.name}


def test_saving_a_step_again_replaces_it(tmp_path):
    folder = StateFolder(tmp_path)
    save(folder, 3)
    folder.save(3, {"w": torch.zeros(1)}, {"second": True})
    assert folder.load_latest().metadata == {"second": True}


def test_a_failure_of_any_call_leaves_an_intact_latest_state(tmp_path, monkeypatch):
    folder = StateFolder(tmp_path / "state")
    save(folder, 1)
    save(folder, 2)
    disk = FailingDisk(monkeypatch)
    failures = 0
    for number in range(1, 100):
        disk.fail_call(number)
        try:
            save(folder, 3)
        except WriteError:
            failures += 1
            state = folder.load_latest()
            assert state.step in (2, 3)
            assert state.skipped == ()
            continue
        break
    assert failures >= 4
    assert folder.load_latest().step == 3


def test_impossible_steps_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="out of range"):
        StateFolder(tmp_path).save(-1, {}, {})


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(WriteError, match="cannot be created"):
        save(StateFolder(tmp_path / "state"), 1)
