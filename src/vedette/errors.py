"""One exception tree; every error says what happened, where, and what to do about it.

Exit codes (the same for every command):

==========  ====================================================================
0           done
1           done, with some inputs failed (each is named)
2           wrong usage, or an input was refused
3           a result could not be written
4           training diverged (non-finite loss or gradients several times in a row)
5           another rank of a run on several devices failed or is gone
130 / 143   interrupted by Ctrl-C / SIGTERM; a training run can be resumed
==========  ====================================================================
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_DONE = 0
EXIT_SOME_FAILED = 1
EXIT_REFUSED = 2
EXIT_NOT_WRITTEN = 3
EXIT_DIVERGED = 4
EXIT_RANK_LOST = 5
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class VedetteError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: what is wrong, without the place ("label has 4 columns, expected 5").
        where: the place: a path, ``path:line``, a config key, a tensor name. Empty if there is none.
        fix: what the reader can do about it, as an imperative sentence.
    """

    exit_code = EXIT_REFUSED
    joint = False
    """All ranks of a run raise it, and rank 0 is the one to report it."""

    def __init__(self, what: str, *, where: object = "", fix: str = "") -> None:
        self.what = what
        self.where = str(where)
        self.fix = fix
        super().__init__(what, self.where, fix)

    def __str__(self) -> str:
        """One line: ``where: what; fix``."""
        place = f"{self.where}: " if self.where else ""
        remedy = f"; {self.fix}" if self.fix else ""
        return f"{place}{self.what}{remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        """Keep keyword arguments when the error crosses a process border."""
        return (_rebuild_error, (type(self), self.what, self.where, self.fix, dict(self.__dict__)))


def _rebuild_error(
    error_type: type[VedetteError], what: str, where: str, fix: str, state: dict[str, object]
) -> VedetteError:
    error = error_type.__new__(error_type)
    VedetteError.__init__(error, what, where=where, fix=fix)
    error.__dict__.update(state)
    return error


class UsageError(VedetteError):
    """A command, flag or argument that makes no sense."""


class ConfigError(VedetteError):
    """A configuration file or value that is not accepted; ``where`` is the file and key."""


class DataError(VedetteError):
    """A data set that cannot be used as a whole; ``where`` is the description or folder."""


class LabelError(DataError):
    """A label row that is wrong; ``where`` is ``path:line``."""


class ImageError(DataError):
    """A picture that cannot be read; ``where`` is its path.

    ``kind`` is one of the short names listed in :mod:`vedette.data.images`.
    """

    def __init__(self, what: str, *, where: object = "", fix: str = "", kind: str = "unreadable") -> None:
        super().__init__(what, where=where, fix=fix)
        self.kind = kind


class ModelError(VedetteError):
    """A model name, layer table or input shape that is not accepted."""


class CheckpointError(VedetteError):
    """A checkpoint that is damaged, foreign or does not fit; ``where`` is the file."""


class MissingExtraError(VedetteError):
    """A feature whose optional dependency is not installed.

    Args:
        package: the module that could not be imported.
        extra: the extra of vedette that brings it.
        purpose: what it is needed for.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}'",
            fix=f"install it with: pip install 'vedette[{extra}]'",
        )


class WriteError(VedetteError):
    """A result that could not be written; ``where`` is the file."""

    exit_code = EXIT_NOT_WRITTEN


class DivergedError(VedetteError):
    """Training produced non-finite numbers several times in a row."""

    exit_code = EXIT_DIVERGED


class RankError(VedetteError):
    """Another rank failed, was killed or was stopped, or the ranks cannot find each other."""

    exit_code = EXIT_RANK_LOST


class InterruptedRunError(VedetteError):
    """A run that stopped on a signal after saving its state.

    Args:
        signal_number: 2 (SIGINT) or 15 (SIGTERM); the exit code is 128 plus it.
    """

    def __init__(self, what: str, *, signal_number: int, where: object = "", fix: str = "") -> None:
        super().__init__(what, where=where, fix=fix)
        self.exit_code = 128 + signal_number


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint naming the closest known word ("did you mean 'epochs'?"), or all of them if none is close."""
    by_lower_case = {str(name).lower(): str(name) for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower_case, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{by_lower_case[close[0]]}'?"
    return "known: " + ", ".join(sorted(by_lower_case.values())) if by_lower_case else "none is known"
