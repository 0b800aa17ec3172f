"""Parameters: settings that an operator, a group, an experiment or a request may tune.

A plugin declares one by writing `parameter(...)` instead of `field(...)` in its settings class.
The value in force is resolved once, when a turn is admitted, and read as `turn.params["name"]`.
Names are global to a deployment; the same name declared twice is a plugin problem.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal, TypeAlias

import attrs
from attrs import field, frozen

from coe_core.codec import converter, shape_errors, unstructure
from coe_core.error import InvalidField
from coe_core.message import Json

Origin: TypeAlias = Literal["settings", "operator", "group", "experiment", "request"]
"""From the weakest to the strongest."""


def parameter(default: Any, **options: Any) -> Any:
    """Declare a settings field that may be tuned per turn. `options` are those of `attrs.field`."""
    return field(default=default, metadata={"parameter": True}, **options)


@frozen(kw_only=True)
class Parameter:
    """A declared parameter."""

    name: str
    plugin: str
    attribute: attrs.Attribute[Any]
    settings: type[Any]
    default: Json
    """The value from the settings file, or the field's own default."""

    def check(self, value: Json) -> Any:
        """Structure and validate a value, or raise `InvalidField`."""
        try:
            checked = converter.structure(value, self.attribute.type or type(self.default))
            if self.attribute.validator is not None:
                self.attribute.validator(None, self.attribute, checked)
        except Exception as error:
            path = f"coe.params.{self.name}"
            raise InvalidField(f"{path}: {shape_errors(error)[0][1]}", param=path) from error
        return checked


def declared(plugin: str, settings: Any) -> list[Parameter]:
    """List the parameters of a plugin's settings object."""
    cls = attrs.resolve_types(type(settings))
    return [
        Parameter(
            name=attribute.name,
            plugin=plugin,
            attribute=attribute,
            settings=cls,
            default=getattr(settings, attribute.name),
        )
        for attribute in attrs.fields(cls)
        if attribute.metadata.get("parameter")
    ]


@frozen(kw_only=True)
class ParameterValue:
    """The value of a parameter that was in force, and where it came from."""

    value: Json
    origin: Origin


@frozen
class Parameters(Mapping[str, Any]):
    """The values in force for one turn, each with its origin."""

    values_by_name: Mapping[str, Any] = field(factory=dict)
    origins: Mapping[str, Origin] = field(factory=dict)

    @cached_property
    def recorded(self) -> Mapping[str, ParameterValue]:
        """What a record says of them."""
        return {
            name: ParameterValue(value=unstructure(value), origin=self.origins[name])
            for name, value in self.values_by_name.items()
        }

    def __getitem__(self, name: str) -> Any:
        """Return the value in force."""
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.values_by_name)

    def __len__(self) -> int:
        """Count the parameters."""
        return len(self.values_by_name)


def defaults(parameters: Mapping[str, Parameter]) -> Parameters:
    """Return the parameters as the settings have them."""
    values = {name: parameter.default for name, parameter in parameters.items()}
    return Parameters(values, dict.fromkeys(parameters, "settings"))


def overlaid(
    below: Parameters,
    parameters: Mapping[str, Parameter],
    layers: Mapping[Origin, Mapping[str, Json]],
) -> Parameters:
    """Lay layers over others, the strongest last.

    Raises `InvalidField` for an unknown name or a value that does not fit.
    """
    if not any(layers.values()):
        return below
    values, origins = dict(below.values_by_name), dict(below.origins)
    for origin, layer in layers.items():
        for name, value in layer.items():
            if name not in parameters:
                known = ", ".join(sorted(parameters)) or "none"
                raise InvalidField(
                    f"coe.params: there is no parameter {name!r}; there are: {known}",
                    param=f"coe.params.{name}",
                )
            values[name] = parameters[name].check(value)
            origins[name] = origin
    return Parameters(values, origins)
