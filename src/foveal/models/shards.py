"""Checkpoints read and written a few rows at a time, so that a model of any size passes through little memory."""

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

__all__ = ["Weight", "cast", "open_weights", "read_at", "read_json", "size_in_bytes", "summed", "whole_folder", "write_shards"]

_KINDS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Element types, as safetensors files name them."""
_NAMES = {kind: name for name, kind in _KINDS.items()}
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_PIECE = 32 * 2**20
"""Weights pass through memory in runs of rows of about so many bytes."""
_WHOLE = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight that lies in a file: what it is called and how large it is are known, its numbers come when `read` is called.

    `read()` gives all of it, `read(start, stop)` those of its rows.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    read: Callable[..., Tensor]

    @property
    def num_bytes(self) -> int:
        """Room it takes in a file."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize

    def pieces(self) -> Iterator[Tensor]:
        """All rows in order, a few at a time, so that not even the largest weight is in memory whole."""
        if not self.shape or self.num_bytes <= _PIECE:
            yield self.read()
            return
        rows = max(1, _PIECE * self.shape[0] // self.num_bytes)
        for start in range(0, self.shape[0], rows):
            yield self.read(start, min(start + rows, self.shape[0]))


def open_weights(place: Path, *, allow_pickle: bool = False) -> dict[str, Weight]:
    """The weights of a folder (one file, or shards and their index; safetensors before pickles) or of a single file, by name.

    Nothing but headers is read yet. ValueError for a folder without weights, a shard that is missing or broken, a weight that two shards
    hold, and for a pickled checkpoint without `allow_pickle`: with it, only tensors are unpickled, no code runs.
    """
    found: dict[str, Weight] = {}
    for file in _files(place):
        for weight in _open_file(file, allow_pickle):
            if weight.name in found:
                raise ValueError(f"{weight.name} stands in {file.name} and in another file of {place}; each weight is wanted once.")
            found[weight.name] = weight
    return found


def cast(weight: Weight, dtype: torch.dtype) -> Weight:
    """The same weight in another element type. ValueError for one that holds no floating-point numbers: quantised weights are not converted."""
    if not weight.dtype.is_floating_point:
        raise ValueError(f"{weight.name} holds {str(weight.dtype).removeprefix('torch.')}; floating-point weights are wanted, not quantised ones.")
    return weight if weight.dtype == dtype else replace(weight, dtype=dtype, read=lambda *rows: weight.read(*rows).to(dtype))


def summed(difference: Weight, base: Weight, *, more_rows: bool = False) -> Weight:
    """A difference plus its base, in the element type of the difference. With `more_rows` the base may have fewer: it is added to the first.

    ValueError for a base whose shape does not fit.
    """
    longer = more_rows and difference.shape[0] >= base.shape[0] and difference.shape[1:] == base.shape[1:]
    if difference.shape != base.shape and not longer:
        shapes = f"{list(difference.shape)}, and {list(base.shape)} in the base"
        raise ValueError(f"{difference.name} has shape {shapes}: it is the difference to another.")

    def read(start: int = 0, stop: int | None = None) -> Tensor:
        whole = difference.read(start, stop)
        if difference.shape and start < (known := base.shape[0]):
            part = base.read(start, known if stop is None else min(stop, known))
            whole[: len(part)] += part.to(whole.dtype)
        return whole

    return replace(difference, read=read)


def read_at(file: Path, place: int, dtype: torch.dtype, shape: tuple[int, ...], start: int = 0, stop: int | None = None) -> Tensor:
    """Numbers that lie in a file from byte `place` on, all or those of some rows. ValueError for a file that ends before.

    They are read, not mapped: pages of a mapped file count as memory in use for as long as it is open.
    """
    if shape:
        rows = (shape[0] if stop is None else stop) - start
        place, shape = place + start * torch.Size(shape[1:]).numel() * dtype.itemsize, (rows, *shape[1:])
    numbers = torch.empty(shape, dtype=dtype)
    room = numbers.reshape(-1).view(torch.uint8).numpy().data
    with file.open("rb", buffering=0) as opened:
        opened.seek(place)
        while room:
            if not (count := opened.readinto(room)):
                raise ValueError(f"{file} ended before all of its weights were read.")
            room = room[count:]
    return numbers


def write_shards(
    folder: Path,
    weights: Sequence[Weight],
    *,
    stem: str = "model",
    shard_bytes: int = 5 * 10**9,
    watch: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Writes weights, in their order, as safetensors files of at most `shard_bytes` each, and an index last if there are several.

    Only some rows of one weight are in memory at a time; a single one larger than a shard gets a file of its own. `watch` hears after each
    weight how many bytes of how many are written.
    """
    shards: list[list[Weight]] = [[]]
    for weight in weights:
        if shards[-1] and sum(other.num_bytes for other in shards[-1]) + weight.num_bytes > shard_bytes:
            shards.append([])
        shards[-1].append(weight)
    total, written, files = sum(weight.num_bytes for weight in weights), 0, []
    for number, shard in enumerate(shards, 1):
        name = f"{stem}.safetensors" if len(shards) == 1 else f"{stem}-{number:05}-of-{len(shards):05}.safetensors"
        files.append(folder / name)
        with files[-1].open("wb") as file:
            file.write(_header(shard))
            for weight in shard:
                _write(weight, file)
                written += weight.num_bytes
                if watch is not None:
                    watch(written, total)
            file.flush()
            os.fsync(file.fileno())
    if len(shards) > 1:
        places = {weight.name: file.name for file, shard in zip(files, shards, strict=True) for weight in shard}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return files


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when all went well and is gone when anything did not: nobody ever sees half of it.

    ValueError when `out` exists already, unless as an empty folder.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{out} exists already; a new or an empty folder is wanted.")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial_folder = out.parent / f".{out.name}.{secrets.token_hex(4)}.partial"
    partial_folder.mkdir()
    try:
        yield partial_folder
        if out.is_dir():
            out.rmdir()
        partial_folder.rename(out)
    except BaseException:
        shutil.rmtree(partial_folder, ignore_errors=True)
        raise


def read_json(file: Path) -> dict[str, Any]:
    """What a JSON file holds. ValueError when it is missing, broken or not an object."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds a {type(found).__name__}; a JSON object is wanted.")
    return found


def size_in_bytes(text: str) -> int:
    """Bytes that a size like 5GB, 500MB or 2GiB stands for. ValueError for another spelling, and for nothing.

    >>> size_in_bytes("1.5 MB")
    1500000
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    unit = _UNITS.get(found[2].upper()) if found else None
    if not found or unit is None or not (count := int(float(found[1]) * unit)):
        raise ValueError(f"{text!r} is no size; it is written like 5GB, 500MB or 2GiB.")
    return count


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    for whole in _WHOLE:
        index = place / f"{whole}.index.json"
        if index.is_file():
            names = sorted(set(read_json(index).get("weight_map", {}).values()))
            if outside := [name for name in names if Path(name).name != name]:
                raise ValueError(f"{index} names {outside[0]!r}; files of the same folder are wanted.")
            if missing := [name for name in names if not (place / name).is_file()]:
                raise ValueError(f"{place} lacks {', '.join(missing)}, which {index.name} names.")
            return [place / name for name in names]
        if (place / whole).is_file():
            return [place / whole]
    raise ValueError(f"{place} holds no weights: {' or '.join(_WHOLE)} is wanted, or its shards with their index.")


def _open_file(file: Path, allow_pickle: bool) -> list[Weight]:
    if file.suffix != ".safetensors":
        if not allow_pickle:
            raise ValueError(f"{file.name} is a pickled checkpoint: opened only with --allow-pickle (allow_pickle=True), tensors only.")
        return [Weight(name, tensor.dtype, tuple(tensor.shape), partial(_read_pickled, file, name)) for name, tensor in _unpickle(file).items()]
    entries, start = _entries(file)
    if odd := [name for name, entry in entries.items() if entry["dtype"] not in _KINDS]:
        raise ValueError(f"{odd[0]} of {file.name} holds {entries[odd[0]]['dtype']}; it can be any of {', '.join(_KINDS)}.")
    weights = []
    for name, entry in entries.items():
        kind, shape = _KINDS[entry["dtype"]], tuple(entry["shape"])
        weights.append(Weight(name, kind, shape, partial(read_at, file, start + entry["data_offsets"][0], kind, shape)))
    return weights


def _entries(file: Path) -> tuple[dict[str, Any], int]:
    """What the head of a safetensors file says of each weight, and where the numbers begin."""
    try:
        with safe_open(file, framework="pt"):
            pass  # the library's own checks of the head: places that overlap or lie outside the file
    except SafetensorError as error:
        raise ValueError(f"{file} is broken or no safetensors file: {error}") from error
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        entries = json.loads(opened.read(length))
    entries.pop("__metadata__", None)
    return entries, 8 + length


def _read_pickled(file: Path, name: str, start: int = 0, stop: int | None = None) -> Tensor:
    found = _unpickle(file)[name].detach()
    return (found[start:stop] if found.ndim else found).clone(memory_format=torch.contiguous_format)


def _unpickle(file: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch names no common class for what can be wrong with a pickle
        raise ValueError(f"{file} cannot be opened as a checkpoint of tensors: {str(error).splitlines()[0]}") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{file} holds other things than tensors by name.")
    return found


def _header(shard: Sequence[Weight]) -> bytes:
    """The head of a safetensors file: its length in eight bytes, then JSON that says where each weight will lie."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for weight in shard:
        entries[weight.name] = {
            "dtype": _NAMES[weight.dtype],
            "shape": list(weight.shape),
            "data_offsets": [end, end := end + weight.num_bytes],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write(weight: Weight, file: BinaryIO) -> None:
    written = 0
    for numbers in weight.pieces():
        if numbers.dtype != weight.dtype or numbers.shape[1:] != weight.shape[1:]:
            raise ValueError(f"{weight.name} changed while it was read: {list(numbers.shape)} of {numbers.dtype} came.")
        file.write(numbers.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        written += numbers.nbytes
    if written != weight.num_bytes:
        raise ValueError(f"{weight.name} changed while it was read: {written} bytes came of {weight.num_bytes}.")
