"""GGUF, the file format of llama.cpp's models."""

from __future__ import annotations

from pathlib import Path

from coe_core.error import MissingModel

MAGIC = b"GGUF"
HEADER_BYTES = 24
"""Magic, version, and the numbers of tensors and of metadata entries
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, 2026-11)."""


def check(path: Path) -> None:
    """Raise `MissingModel` unless the file looks like a GGUF file."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except OSError as error:
        msg = f"the model's file {path.name} cannot be read: {error.strerror}. Correct model_path"
        raise MissingModel(msg) from error
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        msg = (
            f"{path.name} is no GGUF file. Let model_path name one, converted with llama.cpp's "
            "convert_hf_to_gguf.py for example, or remove it to use the bundled model"
        )
        raise MissingModel(msg)
