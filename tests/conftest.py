"""What every test runs under: no network beyond loopback, no home folder, a cache folder of its own."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from tests.export.exported_files import ExportedFiles

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDEN = Path(__file__).resolve().parent / "golden"

# A path below a file: nobody, not even root, can create it.
_UNWRITABLE_HOME = str(Path(__file__).resolve() / "home")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests marked `long`")


def pytest_configure(config: pytest.Config) -> None:
    """A change is judged by the same examples every time; ``--long`` looks for new ones."""
    hypothesis.settings.register_profile("same", derandomize=True, database=None)
    hypothesis.settings.register_profile("new", print_blob=True)
    hypothesis.settings.load_profile("new" if config.getoption("--long") else "same")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    skip = pytest.mark.skip(reason="takes minutes; run with --long")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests counted (``record_property``): how many kills, faults and flipped bits were survived."""
    counted = [
        f"{report.nodeid.partition('::')[2]}: {', '.join(f'{value} {name}' for name, value in report.user_properties)}"
        for report in terminalreporter.getreports("passed")
        if report.when == "call" and report.user_properties
    ]
    if counted:
        terminalreporter.section("counted")
        for line in sorted(counted):
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True, scope="session")
def _isolation(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Child processes inherit the environment, and tests/isolation/sitecustomize.py blocks their network too."""
    base = tmp_path_factory.mktemp("isolation")
    os.environ["HOME"] = os.environ["USERPROFILE"] = _UNWRITABLE_HOME
    os.environ["XDG_CACHE_HOME"] = _UNWRITABLE_HOME
    os.environ["VEDETTE_CACHE_DIR"] = str(base / "cache")
    # Threads of child processes that wait for each other give their core to the tests beside them.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ["MPLCONFIGDIR"] = str(base / "matplotlib")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        part for part in (str(Path(__file__).parent / "isolation"), os.environ.get("PYTHONPATH", "")) if part
    )
    # What is begun in the background of a shell has Ctrl-C switched off, and its children, too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    block_network()


def block_network() -> None:
    """Let sockets of this process reach loopback and local sockets only."""
    original = socket.socket.connect

    def connect(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if self.family in (socket.AF_INET, socket.AF_INET6) and host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach the network: {address!r}")
        original(self, address)

    socket.socket.connect = connect  # type: ignore[method-assign,assignment]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets; tests that need it skip where it is not."""
    for candidate in (os.environ.get("VEDETTE_DATA_DIR"), REPOSITORY.parent / "shared" / "data"):
        if candidate and Path(candidate).is_dir():
            os.environ["VEDETTE_DATA_DIR"] = str(candidate)
            return Path(candidate)
    pytest.skip(
        "no real data sets: set VEDETTE_DATA_DIR to the folder that holds bccd, wind-turbines, voc2007"
    )


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> ExportedFiles:
    """Exported files of a small detector, shared by all test processes of a run."""
    from tests.export.exported_files import ExportedFiles

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exports"
    folder.mkdir(exist_ok=True)
    return ExportedFiles(folder)
