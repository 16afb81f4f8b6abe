from __future__ import annotations

from pathlib import Path

import pytest

from vedette.data.cache_folder import cache_folder


def test_the_variable_decides(tmp_path: Path) -> None:
    assert (
        cache_folder({"VEDETTE_CACHE_DIR": str(tmp_path / "c"), "XDG_CACHE_HOME": "/x"}, "linux")
        == tmp_path / "c"
    )
    assert not (tmp_path / "c").exists(), "nothing is created before it is needed"


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("linux", (".cache", "vedette")),
        ("darwin", ("Library", "Caches", "vedette")),
        ("win32", ("AppData", "Local", "vedette")),
    ],
)
def test_platform_conventions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder({}, platform) == tmp_path.joinpath(*expected)
    assert cache_folder({"XDG_CACHE_HOME": "relative", "LOCALAPPDATA": ""}, platform) == tmp_path.joinpath(
        *expected
    )


def test_named_base_folders(tmp_path: Path) -> None:
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}, "linux") == tmp_path / "vedette"
    assert cache_folder({"LOCALAPPDATA": str(tmp_path)}, "win32") == tmp_path / "vedette"


def test_no_home_means_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", fail)
    assert cache_folder({}, "linux") is None
