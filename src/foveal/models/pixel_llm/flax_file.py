"""Flax's checkpoints without JAX: a msgpack file of nested names is listed in one pass over its heads, and each array read when it is asked for."""

import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from foveal.models.shards import Weight, read_at

__all__ = ["flax_files", "open_flax", "parameters", "write_flax"]

_TYPES = {str(kind).removeprefix("torch."): kind for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}
_TYPES |= {str(kind).removeprefix("torch."): kind for kind in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)}
_TYPES |= {"uint16": torch.uint16, "uint32": torch.uint32, "uint64": torch.uint64, "complex64": torch.complex64, "complex128": torch.complex128}
"""Element types, as NumPy and JAX name them."""
_ARRAY, _SCALAR = 1, 3
"""Flax's numbers for what msgpack leaves open: an array, and a single number kept as one. Either is (shape, type, bytes), itself msgpack."""
_CHUNKED = "__msgpack_chunked_array__"
_CHUNK = 2**30
"""Larger arrays are cut, flat, into chunks of so many bytes."""
_DEEPEST, _LONGEST = 64, 2**16
"""How deep names may nest, and how long a name, a head or a plain value may be."""
_ORBAX = ("_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt", "*/manifest.ocdbt", "*/.zarray")
"""What lies in a folder of Orbax, newer or older."""
_ROOTS = ("params/params/", "params/", "optimizer/target/params/", "optimizer/target/", "")
"""Where parameters lie: in a train state, in an old one, or by themselves."""


def flax_files(place: Path) -> list[Path]:
    """The checkpoints of Flax that a folder holds, or the file itself if it is one, by how they begin: with a map whose first key is a name.

    Of pickles, archives, JSON and safetensors none does. ValueError for a folder of Orbax, whose arrays lie in files of another kind.
    """
    if any(next(place.glob(mark), None) is not None for mark in _ORBAX):
        raise ValueError(f"{place} is a checkpoint of Orbax, which is not read; one of Flax in a single msgpack file is wanted.")
    return [file for file in ([place] if place.is_file() else sorted(place.glob("*"))) if file.is_file() and _begins_with_name(file)]


def open_flax(file: Path) -> dict[str, Weight]:
    """All arrays of a checkpoint by their names, parts joined by "/", none of them read; numbers, texts and the like are left out.

    Nothing but heads is read and nothing is run, whatever the file holds. ValueError, in one sentence, for a file that is broken or no such
    checkpoint, and for an array of a type that PyTorch does not have. ImportError, saying what to install, without msgpack.
    """
    with file.open("rb") as opened:
        walk = _Walk(file, opened, file.stat().st_size)
        found: dict[str, Weight] = {}
        for name, weight in walk.tree():
            if name in found:
                raise walk.broken(f"{name} stands in it twice")
            found[name] = weight
        if walk.place != walk.size:
            raise walk.broken(f"{walk.size - walk.place} bytes follow its end")
    return found


def parameters(weights: Mapping[str, Weight], parts: Sequence[str]) -> dict[str, Weight]:
    """Of a checkpoint's arrays a model's parameters, named from one of the `parts` on: without what an optimizer keeps beside, and names of axes.

    ValueError where no part is found.

    >>> state = {f"{root}/net/kernel": Weight("", torch.float32, (), torch.empty) for root in ("params", "opt_state/0/mu", "params/params_axes")}
    >>> list(parameters(state, ["net"]))
    ['net/kernel']
    """
    for root in _ROOTS:
        below = {name.removeprefix(root): weight for name, weight in weights.items() if name.startswith(root)}
        if any(name.split("/")[0] in parts for name in below):
            return {name: weight for name, weight in below.items() if not any(word.endswith("_axes") for word in name.split("/"))}
    raise ValueError(f"the checkpoint has no parameters of {parts[0]} or any other part, neither as params nor in optimizer/target.")


def write_flax(file: Path, weights: Sequence[Weight], *, chunk_bytes: int = _CHUNK, watch: Callable[[int, int], None] | None = None) -> None:
    """Writes weights as Flax does, nested at each "/" of their names; only some rows of one are in memory at a time.

    `watch` hears after each how many bytes of how many are written. Every map, array and name is such that Flax restores it.
    """
    packer = _msgpack().Packer(autoreset=True, use_bin_type=True)
    total, written = sum(weight.num_bytes for weight in weights), 0

    def put(out: BinaryIO, node: Mapping[str, Any] | Weight) -> None:
        nonlocal written
        if isinstance(node, Weight):
            _put_weight(out, packer, node, chunk_bytes)
            written += node.num_bytes
            if watch is not None:
                watch(written, total)
            return
        out.write(packer.pack_map_header(len(node)))
        for name, below in node.items():
            out.write(packer.pack(name))
            put(out, below)

    with file.open("wb") as opened:
        put(opened, _nested(weights))


def _begins_with_name(file: Path) -> bool:
    with file.open("rb") as opened:
        head = opened.read(34)
    if len(head) < 3 or not (0x81 <= head[0] <= 0x8F and 0xA1 <= head[1] <= 0xBF):
        return False
    return head[2 : 2 + (head[1] & 0x1F)].replace(b"_", b"").isalnum()


@dataclass
class _Walk:
    """One pass over a file: `place` is the next byte."""

    file: Path
    opened: BinaryIO
    size: int
    place: int = 0

    def broken(self, why: str) -> ValueError:
        """What is said of this file."""
        return ValueError(f"{self.file} is broken or no checkpoint of Flax: {why}.")

    def tree(self, name: str = "", depth: int = 0) -> Iterator[tuple[str, Weight]]:
        """Every array from here on, with its name."""
        first = self.peek()
        if depth > _DEEPEST:
            raise self.broken(f"names nest deeper than {_DEEPEST}")
        if 0x80 <= first <= 0x8F or first in (0xDE, 0xDF):
            yield from self.inside(name, depth, self.value("read_map_header"))
        elif not depth:
            raise self.broken("it begins with no map of names")
        elif 0x90 <= first <= 0x9F or first in (0xDC, 0xDD):
            for number in range(self.value("read_array_header")):
                yield from self.tree(f"{name}/{number}", depth + 1)
        elif 0xC7 <= first <= 0xC9 or 0xD4 <= first <= 0xD8:
            weight = self.array(name, first)
            if weight is not None:
                yield name, weight
        else:
            self.value("unpack")

    def inside(self, name: str, depth: int, count: int) -> Iterator[tuple[str, Weight]]:
        """The arrays of a map: one only, where it is an array in chunks."""
        chunks: list[Weight] | None = None
        shape: list[int] = []
        for _ in range(count):
            key = self.value("unpack")
            if not isinstance(key, str):
                raise self.broken(f"{key!r} was found where a name is wanted")
            if key == _CHUNKED:
                self.value("unpack")
                chunks = []
            elif chunks is not None and key == "shape":
                said = self.value("unpack")
                shape = [side for side in said.values() if isinstance(side, int) and side >= 0] if isinstance(said, dict) else []
            elif chunks is not None and key == "chunks":
                chunks = [weight for _, weight in self.tree(name, depth + 1)]
            else:
                yield from self.tree(f"{name}/{key}" if name else key, depth + 1)
        if chunks is not None:
            yield name, self.joined(name, tuple(shape), chunks)

    def joined(self, name: str, shape: tuple[int, ...], chunks: Sequence[Weight]) -> Weight:
        """One array of the chunks that it was cut into, flat."""
        if not chunks or sum(math.prod(chunk.shape) for chunk in chunks) != math.prod(shape) or len({chunk.dtype for chunk in chunks}) > 1:
            raise self.broken(f"the chunks of {name} do not make an array of shape {list(shape)}")
        if not shape:
            return chunks[0]
        step = math.prod(shape[1:])

        def read(start: int = 0, stop: int | None = None) -> Tensor:
            start, stop, _ = slice(start, stop).indices(shape[0])
            first, last, before, parts = start * step, max(start, stop) * step, 0, []
            for chunk in chunks:
                low, high = max(first - before, 0), min(last - before, chunk.shape[0])
                parts += [chunk.read(low, high)] if low < high else []
                before += chunk.shape[0]
            return (torch.cat(parts) if parts else torch.empty(0, dtype=chunks[0].dtype)).view(-1, *shape[1:])

        return Weight(name, chunks[0].dtype, shape, read)

    def array(self, name: str, first: int) -> Weight | None:
        """An array, of which the head alone is read; None for what is none."""
        if first >= 0xD4:
            head, length = 1, 2 ** (first - 0xD4)
        else:
            head = 1 + 2 ** (first - 0xC7)
            length = int.from_bytes(self.ahead(head)[1:], "big")
        kind = self.ahead(head + 1)[-1]
        start = self.place = self.place + head + 1
        if start + length > self.size:
            raise self.broken(f"it ends within {name}")
        if kind not in (_ARRAY, _SCALAR):
            self.place = start + length
            return None
        shape, dtype, begin = self.described(name)
        if begin + math.prod(shape) * dtype.itemsize != start + length:
            raise self.broken(f"{name} has not as many bytes as a shape of {list(shape)} wants")
        self.place = start + length
        file = self.file
        return Weight(name, dtype, shape, lambda *rows: read_at(file, begin, dtype, shape, *rows))

    def described(self, name: str) -> tuple[tuple[int, ...], torch.dtype, int]:
        """Shape and type of an array, and where its numbers begin."""
        if self.value("read_array_header") != 3:
            raise self.broken(f"{name} is not a shape, a type and bytes")
        shape, kind = self.value("unpack"), self.value("unpack")
        if not isinstance(shape, list) or not all(isinstance(side, int) and side >= 0 for side in shape) or not isinstance(kind, str):
            raise self.broken(f"{name} is not a shape, a type and bytes")
        if kind not in _TYPES:
            raise ValueError(f"{name} of {self.file} holds {kind}; it can be any of {', '.join(_TYPES)}.")
        lengths = {0xC4: 1, 0xC5: 2, 0xC6: 4}
        if (first := self.peek()) not in lengths:
            raise self.broken(f"{name} has no bytes")
        return tuple(shape), _TYPES[kind], self.place + 1 + lengths[first]

    def value(self, how: str) -> Any:
        """What stands here as `msgpack` reads it, and on to the next."""
        msgpack = _msgpack()
        for window in (256, _LONGEST):
            reader = msgpack.Unpacker(max_buffer_size=_LONGEST)
            self.opened.seek(self.place)
            reader.feed(self.opened.read(window))
            try:
                found = getattr(reader, how)()
            except msgpack.OutOfData:
                continue
            except Exception as error:  # whatever a reader of broken bytes may raise
                raise self.broken(" ".join(str(error).split()) or "it cannot be read") from error
            self.place += reader.tell()
            return found
        raise self.broken("it ends too soon, or a name in it is endless")

    def peek(self) -> int:
        """The next byte."""
        return self.ahead(1)[0]

    def ahead(self, count: int) -> bytes:
        """The next bytes; they stay the next ones."""
        self.opened.seek(self.place)
        found = self.opened.read(count)
        if len(found) < count:
            raise self.broken("it ends too soon")
        return found


def _put_weight(out: BinaryIO, packer: Any, weight: Weight, chunk_bytes: int) -> None:
    if weight.num_bytes <= chunk_bytes:
        _put_array(out, packer, weight.dtype, weight.shape, weight.pieces())
        return
    step = max(1, chunk_bytes // weight.dtype.itemsize)
    count = math.prod(weight.shape)
    sizes = [min(step, count - start) for start in range(0, count, step)]
    out.write(packer.pack_map_header(3) + packer.pack(_CHUNKED) + packer.pack(True))
    out.write(packer.pack("shape") + packer.pack({str(axis): side for axis, side in enumerate(weight.shape)}))
    out.write(packer.pack("chunks") + packer.pack_map_header(len(sizes)))
    for number, numbers in enumerate(_cut(weight.pieces(), sizes)):
        out.write(packer.pack(str(number)))
        _put_array(out, packer, weight.dtype, (sizes[number],), numbers)


def _put_array(out: BinaryIO, packer: Any, dtype: torch.dtype, shape: Sequence[int], numbers: Iterator[Tensor]) -> None:
    """Its length has to be known before its numbers are: so the head is written by hand, and they follow as they come."""
    size = math.prod(shape) * dtype.itemsize
    inner = (
        packer.pack_array_header(3) + packer.pack(list(shape)) + packer.pack(str(dtype).removeprefix("torch.")) + b"\xc6" + size.to_bytes(4, "big")
    )
    out.write(b"\xc9" + (len(inner) + size).to_bytes(4, "big") + _ARRAY.to_bytes(1, "big") + inner)
    for some in numbers:
        out.write(some.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _cut(pieces: Iterator[Tensor], sizes: Sequence[int]) -> Iterator[Iterator[Tensor]]:
    """The same numbers, flat, as runs of these sizes; each has to be taken before the next."""
    rest = torch.empty(0)

    def run(wanted: int) -> Iterator[Tensor]:
        nonlocal rest
        while wanted:
            if not len(rest):
                rest = next(pieces).reshape(-1)
            yield rest[:wanted]
            wanted, rest = wanted - min(wanted, len(rest)), rest[wanted:]

    for size in sizes:
        yield run(size)


def _nested(weights: Sequence[Weight]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for weight in weights:
        *above, last = weight.name.split("/")
        node = tree
        for name in above:
            node = node.setdefault(name, {})
        node[last] = weight
    return tree


def _msgpack() -> Any:
    try:
        return importlib.import_module("msgpack")
    except ImportError as error:
        raise ImportError("reading Flax's checkpoints needs msgpack: pip install 'foveal[convert]'") from error
