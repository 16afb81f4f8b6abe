"""Gives every hostile file to every command that takes a model, in one process that is watched.

``python -m tests.flow.hostile_program FOLDER`` works in an empty folder and prints JSON. The reading of strangers'
files, which has a process of its own otherwise, happens in this one too, so that the watch sees it. All files have
the same name in turn, so that a command line, the same for all of them, is split only once: that is what takes time.

Who adds a command that takes a model adds a line to ``COMMANDS`` or ``CALLS``.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import os
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.checkpoint.hostile import ATTACKS, Hostile, hostile_files
from tests.checkpoint.legacy.archives import records_of
from tests.checkpoint.legacy.published import filled_detector, save_release, small_architecture
from tests.flow.conftest import draw_rectangles
from vedette.checkpoint.deployable import save_detector
from vedette.checkpoint.legacy import child, convert
from vedette.checkpoint.legacy.confinement import FORBIDDEN, _may_open
from vedette.cli import flags, train, tune
from vedette.cli.app import main as vedette
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.errors import EXIT_REFUSED, VedetteError
from vedette.hub.entry_points import load as hub
from vedette.infer.load import load
from vedette.train.folder.run_files import RunFiles

DATA, PICTURE, RUN, STATE = (
    "rectangles.yaml",
    "images/val/000.png",
    "run",
    "state/state-000000000001.safetensors",
)
_SMALL = ("--device", "cpu", "--threads", "1", "--img-size", "64")
_TRAINING = ("--data", DATA, "--epochs", "1", "--batch-size", "2", "--workers", "0", "--noplots", *_SMALL)


def _resumed(file: str) -> list[str]:
    """The file in the place of a run's saved state."""
    place = Path(RUN) / STATE
    place.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        os.link(file, place) if Path(file).is_file() else place.symlink_to(Path(file).absolute())
    return ["train", "--resume", RUN]


COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "detect": lambda file: ["detect", PICTURE, "--weights", file, "--project", "runs/detect", *_SMALL],
    "val": lambda file: ["val", "--weights", file, "--data", DATA, "--project", "runs/val", *_SMALL],
    "train": lambda file: ["train", "--weights", file, "--project", "runs/train", *_TRAINING],
    "train --resume FILE": lambda file: ["train", "--resume", file],
    "train --resume RUN": _resumed,
    "tune": lambda file: [
        "tune",
        "--weights",
        file,
        "--trials",
        "1",
        "--study",
        f"study{Path(file).suffix}",
        *_TRAINING,
    ],
    "export": lambda file: ["export", "--weights", file, "--output", "exported"],
    "verify": lambda file: ["verify", file],
    "bench": lambda file: ["bench", "--weights", file],
    "info": lambda file: ["info", file],
    "import": lambda file: ["import", file, "--output", "imported.safetensors", "--exist-ok"],
}
"""Command -> its arguments for a model file."""

CALLS: dict[str, Callable[[str], object]] = {
    "vedette.load": lambda file: load(file, device="cpu"),
    "hub custom": lambda file: hub("custom", path=file, device="cpu", _verbose=False),
    "hub yolov5s": lambda file: hub("yolov5s", pretrained=file, device="cpu", verbose=False),
}
"""What Python programs call with a model file."""

WITHOUT_MODEL = ("data check", "data anchors", "demo")
"""Commands that take none."""

OTHER_WORDS: dict[str, Callable[[Hostile], str]] = {
    "train --resume FILE": lambda file: "is not the folder of a run",
    "train --resume RUN": lambda file: "no saved state is intact",
    "import": lambda file: file.says if file.suffix == ".pt" else "",
}
"""Commands that say something else than what the file is: they do not read it as weights, or not by its suffix."""

_EXECUTING = (
    "ctypes.dlopen", "marshal.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.system",
    "pickle.find_class", "pty.", "socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen",
    "urllib.", "webbrowser.",
)  # fmt: skip
"""Beginnings of audit events that no command has a use for here."""


class Watch:
    """What the process does while armed; while a stranger's file is open, by the rules of the reader's own process."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.armed = False
        self.reading: set[str] | None = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        forbidden = event.startswith(_EXECUTING)
        if self.reading is not None:
            forbidden |= event.startswith(FORBIDDEN)
            forbidden |= event == "open" and not _may_open(arguments, self.reading)
        if forbidden:
            self.events.append(f"{event} {str(arguments)[:100]}")

    @contextlib.contextmanager
    def confined(self, *readable: Path) -> Iterator[None]:
        self.reading = {os.fspath(path) for path in readable}
        try:
            yield
        finally:
            self.reading = None

    def answered(self, request: dict[str, Any], path: Path) -> dict[str, Any]:
        """What the process that reads would answer, from this one."""
        answer = io.StringIO()
        before = sys.stdin
        sys.stdin = io.StringIO(json.dumps(request))
        try:
            with contextlib.redirect_stdout(answer):
                child.main()
        finally:
            sys.stdin = before
        found: dict[str, Any] = json.loads(answer.getvalue())
        return found


def given(name: str, file: str) -> tuple[int, str]:
    """Exit code and what was said about one file by one command."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        if name in COMMANDS:
            code = vedette(COMMANDS[name](file))
        else:
            try:
                CALLS[name](file)
                code = 0
            except VedetteError as error:
                code = error.exit_code
                said.write(f"vedette: error: {error}\n")
    return code, said.getvalue()


def complaint(name: str, file: Hostile, code: int, said: str) -> str:
    """What is wrong with a refusal: nothing, if it is one line that says what, where, and what to do."""
    lines = said.splitlines()
    words = OTHER_WORDS[name](file) if name in OTHER_WORDS else file.says
    problems = [f"exit code {code}"] if code != EXIT_REFUSED else []
    problems += [f"{len(lines)} lines"] if len(lines) != 1 else []
    problems += [f"not {words!r}"] if words not in said else []
    problems += ["no place"] if "model." not in said and name != "train --resume RUN" else []
    problems += ["no remedy"] if "; " not in said else []
    problems += (
        ["control characters"] if any(not letter.isprintable() for letter in said.rstrip("\n")) else []
    )
    return "; ".join(problems)


def splits_once() -> None:
    """Remember how a command line is split."""

    @functools.cache
    def remembered(command: str, purpose: str, classes: tuple[Any, ...], arguments: tuple[str, ...]) -> Any:
        return split(command, purpose, classes, arguments)

    def split_once(command: str, purpose: str, classes: Sequence[Any], arguments: Sequence[str]) -> Any:
        return remembered(command, purpose, tuple(classes), tuple(arguments))

    split = flags.parse_arguments
    for module in (flags, train, tune):
        module.parse_arguments = split_once  # type: ignore[attr-defined]


def removed(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def prepared(folder: Path) -> None:
    """A data set, a run to resume, and models that are fine."""
    draw_rectangles(folder, train=2, val=2, size=64)
    config = TrainConfig(
        data=DATA, cfg="tiny", epochs=2, device="cpu", workers=0, threads=1, image_size=(64, 64)
    )
    RunFiles.create(folder / RUN, config, Hyperparameters())
    detector = filled_detector(small_architecture("v4.0"))
    save_release(folder / "fine.pt", detector)
    names = ("cat", "dog")
    save_detector(
        folder / "fine.safetensors", detector, class_names=names, letterbox=LetterboxPolicy(), metadata={}
    )


def control(watch: Watch, folder: Path) -> dict[str, Any]:
    """The usual way to load a checkpoint runs its payload, and the watch sees it."""
    attack = folder / "attack.pt"
    next(Hostile(*line) for line in ATTACKS if line[0] == "os-system").write(attack)
    watch.events.clear()
    with contextlib.suppress(Exception):
        pickle.loads(records_of(attack)["data.pkl"])
    seen, ran = bool(watch.events), (folder / "canary").exists()
    (folder / "canary").unlink(missing_ok=True)
    watch.events.clear()
    return {"ran": ran, "seen": seen}


def main(folder: Path) -> dict[str, Any]:
    os.chdir(folder)
    os.environ["VEDETTE_CACHE_DIR"] = str(folder / "cache")
    prepared(folder)
    watch = Watch()
    convert._ask = watch.answered
    child.confined = watch.confined  # type: ignore[assignment]
    child.limit_resources = lambda size: None
    child._warm_up()
    child._warm_up = lambda: None
    names = [*COMMANDS, *CALLS]
    accepted = {name: given(name, "fine.pt")[0] for name in ("detect", "val", "info", "import", *CALLS)}
    splits_once()
    files = hostile_files()
    for name, suffix in itertools.product(names, sorted({file.suffix for file in files})):
        (folder / f"model{suffix}").touch()  # what is imported late, is imported now
        given(name, f"model{suffix}")
    watch.armed = True
    result: dict[str, Any] = {"control": control(watch, folder), "accepted": accepted, "files": len(files)}
    wrong, worst = [], (0.0, "")
    for file in files:
        path = folder / f"model{file.suffix}"
        removed(path)
        file.write(path)
        for name in names:
            started = time.process_time()
            problem = complaint(name, file, *given(name, path.name))
            worst = max(worst, (time.process_time() - started, f"{name} {file.name}"))
            wrong += [f"{name} {file.name}: {problem}"] if problem else []
    watch.armed = False
    result |= {"wrong": wrong, "events": watch.events, "worst": worst, "commands": len(names)}
    return result | {
        "canary": (folder / "canary").exists(),
        "cached": len(list(folder.glob("cache/imported/*"))),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(Path(sys.argv[1]).resolve())))  # noqa: T201
