"""A cloud folder that a run's files are copied to, with the user's own ``gsutil`` program (``--bucket``).

vedette itself opens no connection: the program is started because the user's command names a bucket, and it uses
whatever account the user has set it up with.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vedette.errors import UsageError, WriteError

PROGRAM = "gsutil"
_ADDRESS = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,221}(/[^\s*?\[\]#]*)?", re.ASCII)
_MAX_COMPLAINT = 300


@dataclass(frozen=True, slots=True)
class Bucket:
    """A cloud folder and the program that reaches it; make it with :func:`open_bucket`.

    Attributes:
        address: ``gs://name/folder`` without a slash at its end.
        program: path of ``gsutil``.
    """

    address: str
    program: str

    def upload(self, files: Sequence[Path], folder: str) -> None:
        """Copy ``files`` (those that exist) into ``folder`` below the address. Raises WriteError."""
        existing = [path for path in files if path.is_file()]
        if existing:
            self._copy([str(path) for path in existing], f"{self.address}/{folder.strip('/')}/")

    def download(self, name: str, target: Path) -> None:
        """Copy ``name`` below the address to ``target``. Raises WriteError, also where there is no such file."""
        self._copy([f"{self.address}/{name.strip('/')}"], str(target))

    def _copy(self, sources: Sequence[str], target: str) -> None:
        try:
            outcome = subprocess.run(
                [self.program, "cp", *sources, target],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        except OSError as error:
            raise WriteError(f"cannot be started ({error.strerror})", where=self.program) from None
        if outcome.returncode:
            complaint = " ".join(outcome.stderr.split())[-_MAX_COMPLAINT:]
            raise WriteError(
                f"{PROGRAM} cp ended with code {outcome.returncode} ({complaint})",
                where=target,
                fix=f"the files are complete on this machine; copy them again with: {PROGRAM} cp",
            )


def open_bucket(address: str) -> Bucket | None:
    """The bucket of an address such as ``gs://name/folder``, or None for an empty one.

    Nothing is contacted yet; ``name`` alone means ``gs://name``, as in the reference.

    Raises:
        UsageError: that is no address, or there is no ``gsutil`` program.
    """
    if not address:
        return None
    full = (address if "://" in address else f"gs://{address}").rstrip("/")
    if not _ADDRESS.fullmatch(full):
        raise UsageError(f"{address!r} is no cloud folder", where="--bucket", fix="give gs://NAME/FOLDER")
    program = shutil.which(PROGRAM)
    if program is None:
        raise UsageError(
            f"the program {PROGRAM} is not on the PATH",
            where="--bucket",
            fix="install the Google Cloud command line and log in, or leave --bucket out",
        )
    return Bucket(full, program)
