"""The command line, `coe`. Plugins' commands find a `Frame` in their context's `obj`."""

from coe_core.cli.frame import Frame, pass_frame
from coe_core.cli.lazy import LazyCommand, lazy_command
from coe_core.cli.output import echo_json, table
from coe_core.cli.program import main

__all__ = ["Frame", "LazyCommand", "echo_json", "lazy_command", "main", "pass_frame", "table"]
