"""What two processes say to each other over a pipe: a small header, then bytes that need no parsing."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import IO, Any, TypeAlias

import numpy as np

from .extraction import Item

__all__ = ["Frame", "Unpacker", "pack", "pack_item", "read", "unpack_item"]

Frame: TypeAlias = tuple[dict[str, Any], bytes]
"""A header, which JSON can hold, and a payload."""

_LENGTHS = struct.Struct("<IQ")


def pack(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """Return a frame as bytes."""
    text = json.dumps(header).encode()
    return b"".join((_LENGTHS.pack(len(text), len(payload)), text, payload))


def read(stream: IO[bytes]) -> Frame | None:
    """Return the next frame of a stream that blocks, or None at its end."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    header, payload = (stream.read(length) for length in _LENGTHS.unpack(lengths))
    return json.loads(header), payload


class Unpacker:
    """Cuts bytes that arrive in pieces into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that these bytes complete."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTHS.size:
            n_header, n_payload = _LENGTHS.unpack_from(buffer)
            start = _LENGTHS.size + n_header
            end = start + n_payload
            if len(buffer) < end:
                return
            header, payload = buffer[_LENGTHS.size : start].decode(), bytes(buffer[start:end])
            del buffer[:end]
            yield json.loads(header), payload


def pack_item(index: int, item: Item) -> bytes:
    """Return the frame that says what became of the file with this index."""
    value = item.value
    header = {
        "index": index,
        "shape": item.shape,
        "near_flat": item.near_flat,
        "digest": item.digest.tobytes().hex(),
        "decoder": item.decoder,
        "value": None if value is None else (value.dtype.str, value.shape),
    }
    return pack(header, b"" if value is None else value.tobytes())


def unpack_item(header: dict[str, Any], payload: bytes) -> Item:
    """Return what `pack_item` was given; its arrays are read-only."""
    value = None
    if header["value"] is not None:
        dtype, shape = header["value"]
        value = np.ndarray(shape, np.dtype(dtype), payload)
    height, width = header["shape"]
    digest = np.frombuffer(bytes.fromhex(header["digest"]), np.uint8)
    return Item(value, (height, width), header["near_flat"], digest, header["decoder"])
