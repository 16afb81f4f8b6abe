"""AOTInductor: the network compiled to native code of this machine, in a package that torch opens."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

from vedette.checkpoint.exported.pt2 import with_contract
from vedette.checkpoint.exported.record import prepare_record
from vedette.errors import ModelError
from vedette.export.job import ExportJob
from vedette.export.torch_program import program_of, put_recorded


def write(job: ExportJob, path: Path) -> None:
    """Write one file, and record that it was written here. It takes minutes, and a C++ compiler.

    Raises:
        ModelError: there is no compiler, or it fails.
        WriteError: the file could not be written.
    """
    prepare_record()
    put_recorded(with_contract(compile_package(job), job.contract.to_json()), path)


def compile_package(job: ExportJob) -> bytes:
    """The package. Raises ModelError."""
    from torch._inductor import aoti_compile_and_package, exc
    from torch._inductor.cpp_builder import get_cpp_compiler

    # Torch before 2.7 has no common type of them, and says that the compiler failed with the others here.
    failures = (
        getattr(exc, "InductorError", exc.CppCompileError),
        exc.CppCompileError,
        exc.InvalidCxxCompiler,
    )
    with tempfile.TemporaryDirectory(prefix="vedette-aotinductor-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            get_cpp_compiler()  # it would be missed only minutes later
            made = aoti_compile_and_package(
                program_of(job),
                package_path=str(Path(folder, "network.pt2")),
                # Weights are constants: they can be laid out as the convolutions want them.
                inductor_configs={"freezing": True},
            )
        except failures as error:
            said = " ".join(str(error).split())[:300]
            raise ModelError(
                f"torch cannot compile the network ({said})",
                where="aotinductor",
                fix="install a C++ compiler such as g++, or use another format",
            ) from None
        return Path(made).read_bytes()
