from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vedette.core.silent_import import import_silently

TALKATIVE = """
try:
    import openvino_telemetry
    told = True
except ImportError:
    told = False
"""


@pytest.fixture
def _talkative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that reports its import, and one that it would do it with."""
    (tmp_path / "openvino_telemetry.py").write_text("", encoding="utf-8")
    (tmp_path / "talkative.py").write_text(TALKATIVE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("talkative", "openvino_telemetry"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("_talkative")
def test_nobody_is_told() -> None:
    assert import_silently("talkative").told is False
    assert "openvino_telemetry" not in sys.modules
    import openvino_telemetry  # whoever wants it still gets it

    assert import_silently("talkative").told is False
    assert sys.modules["openvino_telemetry"] is openvino_telemetry


@pytest.mark.usefixtures("_talkative")
def test_without_it_they_are_told() -> None:
    import talkative

    assert talkative.told is True
    assert import_silently("talkative") is talkative


@pytest.mark.usefixtures("_talkative")
def test_a_missing_package_is_an_import_error() -> None:
    with pytest.raises(ImportError, match="no_such_package"):
        import_silently("no_such_package")
    assert "openvino_telemetry" not in sys.modules
