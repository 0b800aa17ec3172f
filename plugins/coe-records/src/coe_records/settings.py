"""The settings of the plugin, `[plugins.records]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from attrs import field, frozen
from attrs.validators import ge, gt

from coe_core.cli import Frame
from coe_core.error import StartRefused
from coe_core.naming import naming
from coe_core.parameter import parameter
from coe_core.settings import Secret

if TYPE_CHECKING:
    from coe_records.folder import DataFolder


@frozen(kw_only=True)
class Settings:
    segment_bytes: int = field(default=256 << 20, validator=ge(1))
    """A file of the log that has grown to this size is followed by a new one."""
    database: Secret | None = None
    """Where the address of a Postgres server is, `postgresql://USER:PASSWORD@HOST/DATABASE`, that
    several machines can share; without it the tables are a SQLite file in the data folder."""
    spot_check_s: float = field(default=5.0, validator=gt(0))
    """How often it is looked how far log and database are apart, and whether a random record of
    each is in the other.
    """
    summarizer: str = naming("summarizers", "extractive")
    """What makes a summary of the messages that a session's window leaves behind: `extractive`,
    which needs no model, `model`, or another plugin's; "" for none."""
    summary_model: str | None = naming("models")
    """The alias of the model that the summarizer `model` asks. It must be one that the group may
    use, and the group's budget pays."""
    summary_tokens: int = parameter(400, validator=ge(32))
    """How long a summary may be."""

    def __attrs_post_init__(self) -> None:
        """Refuse a summarizer that would have nobody to ask."""
        if self.summarizer == "model" and self.summary_model is None:
            raise ValueError('summarizer = "model" needs summary_model, the alias of one')


pass_settings = click.make_pass_decorator(Settings, ensure=True)


def data_folder(frame: Frame) -> DataFolder:
    """Return the data folder of a deployment, with the database that its settings name."""
    from coe_records.folder import DataFolder

    settings = click.get_current_context().find_object(Settings)
    server = settings.database if settings is not None else None
    return DataFolder(frame.data_dir, server.reveal() if server else None)


def log_folder(frame: Frame) -> DataFolder:
    """Return the data folder of a deployment. Raises `StartRefused` where it has no log."""
    folder = data_folder(frame)
    if not folder.events.is_dir():
        raise StartRefused(f"there is no log in {folder.path}; name the folder with --data")
    return folder
