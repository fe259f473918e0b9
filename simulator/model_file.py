"""A network from a file of the user's own: Hugging Face's ``config.json``, a layer file or ONNX, by what it holds.

An ONNX file may leave sizes open; they stand behind its name: ``net.onnx:batch=1,sequence=512``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

from hwmodels.datafile import DataFileError, did_you_mean, read_toml
from workloads.catalog import resolve_model
from workloads.importers.huggingface import workload_from_config
from workloads.importers.json_file import read_json
from workloads.importers.layer_file import workload_from_layer_file
from workloads.op import WorkloadError
from workloads.workload import Workload

from .errors import InputError

#: Endings of files that hold a network.
ENDINGS: Final = (".json", ".toml", ".onnx", ".et")
_CONFIG: Final = "config.json"
_LEGAL: Final = "a Hugging Face config.json (with model_type), a layer file (with layers), an .onnx file"
_SIZED: Final = re.compile(r"(?P<path>.*\.onnx):(?P<sizes>[^/]*)", re.IGNORECASE | re.DOTALL)


def names_file(text: str) -> bool:
    """Whether a model's name is meant as a file: by its ending, or as a path that is no name of the catalogue."""
    if text.lower().endswith(ENDINGS) or _SIZED.fullmatch(text):
        return True
    if not text or len(text) > 4096 or "\0" in text or resolve_model(text):
        return False
    return os.path.isfile(text) or os.path.isfile(os.path.join(text, _CONFIG))


def workload_from_file(path: str, *, seq_len: int | None = None, image_size: int | None = None) -> Workload:
    """The network that a file describes; a folder stands for the ``config.json`` in it.

    Parameters
    ----------
    seq_len
        Positions of a sequence, where the file leaves them open (a layer file does not).
    image_size
        Refused: files say the size of an image.

    Raises
    ------
    InputError
        With every problem: file, line, key, what is legal.
    """
    place = os.path.join(path, _CONFIG) if os.path.isdir(path) else path
    if image_size is not None:
        raise InputError(f"{place}: says the size of its input itself; legal: leave image_size out.")
    ending = os.path.splitext(place)[1].lower()
    try:
        if ending == ".toml":
            return _layer_file(place, read_toml(place).data, seq_len)
        if ending == ".onnx" or _SIZED.fullmatch(place):
            return _onnx(place, seq_len)
        if ending == ".et":
            raise InputError(
                f"{place}: a trace lists the kernels of one rank, not the layers that a plan cuts; legal: {_LEGAL}. "
                "workloads.importers.chakra reads it in Python."
            )
        held = read_json(place).data
        if "model_type" in held or "architectures" in held:
            return workload_from_config(place, seq_len=seq_len)
        return _layer_file(place, held, seq_len)
    except DataFileError as error:
        raise InputError(*error.problems) from None
    except WorkloadError as error:
        raise InputError(str(error) if place in str(error) else f"{place}: {error}") from None


def _onnx(place: str, seq_len: int | None) -> Workload:
    from workloads.importers.onnx import workload_from_onnx

    if seq_len is not None:
        raise InputError(f"{place}: has its sizes in it or behind its name; legal: leave seq_len out.")
    match = _SIZED.fullmatch(place)
    sizes: dict[str, int] = {}
    for pair in match["sizes"].split(",") if match else ():
        word, _, number = pair.partition("=")
        if not word.strip() or not re.fullmatch(r"[0-9]{1,10}", number.strip(), re.ASCII) or not int(number):
            raise InputError(f"{place}: {ascii(pair)[:60]} is no size; legal: as in net.onnx:batch=1,sequence=512.")
        sizes[word.strip()] = int(number)
    try:
        return workload_from_onnx(match["path"] if match else place, sizes=sizes or None)
    except DataFileError as error:
        hint = " As a model's name: net.onnx:batch=1,sequence=512." if "open" in str(error) else ""
        raise InputError(*(f"{problem}{hint}" for problem in error.problems)) from None


def _layer_file(place: str, held: Mapping[str, Any], seq_len: int | None) -> Workload:
    if "layers" not in held or not isinstance(held["layers"], list):
        if "job" in held:
            raise InputError(f"{place}: is a job, not a network; name it without --model.")
        near = did_you_mean(next(iter(held), ""), ("layers", "model_type"))
        raise InputError(f"{place}: holds no network; legal: {_LEGAL}.{near}")
    if seq_len is not None:
        raise InputError(f"{place}: has all its sizes written in it; legal: leave seq_len out.")
    return workload_from_layer_file(place)
