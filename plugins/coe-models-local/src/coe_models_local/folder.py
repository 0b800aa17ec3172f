"""Where this plugin keeps files: models in the user's cache, sockets in a folder of the user's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from coe_core.error import SettingsError


def models_folder() -> Path:
    """Return the folder of the bundled models: `COE_MODELS_DIR`, else in the user's cache."""
    if folder := os.environ.get("COE_MODELS_DIR"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "coe" / "models"


def runtime_folder() -> Path:
    """Make and return the folder of the sockets: in `XDG_RUNTIME_DIR`, else in the temporary
    folder, because a socket's path must be short. Raises `SettingsError` if others could enter it.
    """
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        folder = Path(runtime) / "coe"
    else:
        folder = Path(tempfile.gettempdir()) / f"coe-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError as error:
        msg = f"the folder {folder} cannot be made: {error.strerror}. Let XDG_RUNTIME_DIR name one"
        raise SettingsError(msg) from error
    if state.st_uid != os.getuid() or state.st_mode & 0o077:
        msg = f"the folder {folder} is open to others. Remove it, or let XDG_RUNTIME_DIR name one"
        raise SettingsError(msg)
    return folder
