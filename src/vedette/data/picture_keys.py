"""What the description of a data set says of its pictures: the keys ``channels``, ``bits`` and ``value_range``.

    channels: 4                # also `ch`; default 3
    bits: 12                   # 8 (default) to 16; 9 to 15: stored in 16, values from 0 to 2^bits - 1
    value_range: [0, 10000]    # the values that become 0 and 1; default: all that the bits hold

Without any of them pictures are 8-bit RGB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vedette.core.picture_format import BITS, PictureFormat
from vedette.errors import ConfigError, ModelError

PICTURE_KEYS: Final = ("channels", "ch", "bits", "value_range")


def parse_picture_format(values: Mapping[str, Any], where: object) -> PictureFormat:
    """The picture format of a description.

    Args:
        values: the mapping of the YAML file.
        where: the file.

    Raises:
        ConfigError: a value that makes no sense; ``where`` names its key.
    """
    if "ch" in values and "channels" in values and values["ch"] != values["channels"]:
        raise ConfigError(
            "says the same as 'channels', and another number", where=f"{where}: ch", fix="leave one out"
        )
    channels = values.get("channels", values.get("ch", 3))
    bits = values.get("bits", BITS[0])
    if type(bits) is not int or not BITS[0] <= bits <= BITS[1]:
        raise ConfigError("must be a whole number from 8 to 16", where=f"{where}: bits")
    limits = values.get("value_range", [0, 2**bits - 1])
    if limits == [0, 0]:
        raise ConfigError("must be two whole numbers, lowest < highest", where=f"{where}: value_range")
    try:
        return PictureFormat(
            channels,
            BITS[0] if bits == BITS[0] else BITS[1],
            tuple(limits) if isinstance(limits, list) else limits,
        )
    except ModelError as error:
        key = error.where.rpartition(".")[2]
        raise ConfigError(error.what, where=f"{where}: {key}", fix=error.fix) from None
