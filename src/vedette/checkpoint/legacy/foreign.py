"""Files that are no checkpoint of torch, recognised by their first bytes, each with a message of its own."""

from __future__ import annotations

from vedette.checkpoint.legacy.container_stream import MAGIC as STREAM_MAGIC
from vedette.errors import CheckpointError

HEAD_BYTES = 1024
_NAME_THE_CHECKPOINT = "name the .pt file that training wrote"

_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\xd8\xff", "is a JPEG picture", _NAME_THE_CHECKPOINT),
    (b"\x89PNG", "is a PNG picture", _NAME_THE_CHECKPOINT),
    (b"GIF8", "is a GIF picture", _NAME_THE_CHECKPOINT),
    (b"%PDF", "is a PDF document", _NAME_THE_CHECKPOINT),
    (b"\x1f\x8b", "is compressed with gzip", "unpack it first"),
    (b"BZh", "is compressed with bzip2", "unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive", "unpack it first"),
    (b"Rar!", "is a RAR archive", "unpack it first"),
    (b"\x89HDF", "is an HDF5 file, such as Keras writes", _NAME_THE_CHECKPOINT),
    (b"\x7fELF", "is a program", _NAME_THE_CHECKPOINT),
    (b"MZ", "is a Windows program", _NAME_THE_CHECKPOINT),
    (
        b"version https://git-lfs",
        "is a pointer of Git LFS, not the file itself",
        "fetch it with `git lfs pull`",
    ),
    (b"<", "is a web page or XML: the download went wrong", "download it again"),
    (b"PK\x05\x06", "is an empty zip archive", "use another copy of the file"),
)


def refuse_foreign(head: bytes, size: int) -> None:
    """Refuse what is neither a zip archive nor a stream of torch.

    Args:
        head: the first ``HEAD_BYTES`` bytes of the file.
        size: of the file in bytes.

    Raises:
        CheckpointError: saying what the file is, if that is known.
    """
    if not size:
        raise CheckpointError("is empty", fix="use another copy of the file")
    for beginning, what, fix in _BEGINNINGS:
        if (
            head.lstrip(b" \r\n\t\xef\xbb\xbf").startswith(beginning)
            if beginning == b"<"
            else head.startswith(beginning)
        ):
            raise CheckpointError(what, fix=fix)
    if head[257:262] == b"ustar":
        raise CheckpointError(
            "is a tar archive",
            fix="unpack it; checkpoints of torch from before 2017, which are tar too, are not read",
        )
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size:
        raise CheckpointError(
            "is a safetensors file, not a .pt checkpoint",
            fix="vedette reads its own directly, with the suffix .safetensors; those of others lack the layers",
        )
    if head[4:8] == b"TFL3":
        raise CheckpointError("is a TensorFlow Lite model", fix=_NAME_THE_CHECKPOINT)
    if head[:1] == b"\x08" and (b"onnx" in head or b"pytorch" in head or head[2:3] in (b"\x12", b"\x3a")):
        raise CheckpointError("is an ONNX model", fix="import the .pt file that it was exported from")
    if STREAM_MAGIC.startswith(head[: len(STREAM_MAGIC)]):
        raise CheckpointError("is cut off", fix="use another copy of the file")
    if head[:1] == b"\x80":
        raise CheckpointError("is a pickle, but no checkpoint of torch.save", fix=_NAME_THE_CHECKPOINT)
    raise CheckpointError("is no checkpoint of torch", fix=_NAME_THE_CHECKPOINT)
