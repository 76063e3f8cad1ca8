"""Validating a config section by section, so that one fault does not hide another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args

from pydantic import TypeAdapter, ValidationError

from polyalign import families, rewards
from polyalign.families import Policy
from polyalign.study.messages import Fault, from_pydantic, unknown
from polyalign.study.study import Study, policies_of
from polyalign.study.yaml_lines import Key

BY_NAME = ("values", "reward_models", "preferences", "palettes", "policies")
"""Sections that hold entries by name; each entry is validated by itself."""


@dataclass
class Partial:
    """A config that is not yet a Study: what of it has no fault by itself.

    Attributes:
        raw: the config as it was read.
        sections: the sections, and entries of sections, that have no fault by themselves.
        faults: what was found so far.
    """

    raw: Mapping[str, Any]
    sections: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def add(self, key: Key, text: str) -> None:
        """Note a fault."""
        self.faults.append(Fault(key, text))

    def names(self, section: str) -> list[str]:
        """Names of all entries of a section, faulty ones too."""
        entries = self.raw.get(section)
        return [str(name) for name in entries] if isinstance(entries, dict) else []

    def broken(self, section: str) -> bool:
        """Whether the section itself cannot be read, so that its names are not known."""
        return section in self.raw and not isinstance(self.raw[section], dict)

    def policies(self) -> dict[str, Policy]:
        """Policies by name, of all families without a fault."""
        return policies_of(self.sections.get("policies", {}))


def partial_study(raw: Mapping[str, Any]) -> Partial:
    """Validate every section of `raw` by itself."""
    made = Partial(raw)
    for name, given in raw.items():
        info = Study.model_fields.get(name)
        if info is None:
            made.add((name,), unknown(name, "key", Study.model_fields))
            continue
        kind = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        if name not in BY_NAME:
            valid = _validated(made, (name,), kind, given)
            if valid is not None:
                made.sections[name] = valid
        elif not isinstance(given, dict) or (name == "values" and not given):
            _validated(made, (name,), kind, given)
        else:
            _entries(made, name, kind, given)
    return made


def _entries(made: Partial, section: str, kind: Any, given: Mapping[Any, Any]) -> None:
    while hasattr(kind, "__metadata__"):
        kind = get_args(kind)[0]
    name_kind, entry_kind = get_args(kind)
    entries = made.sections.setdefault(section, {})
    for name, entry in given.items():
        valid_name = _validated(made, (section, name), name_kind, name)
        if section == "values":
            valid = _value(made, name, entry)
        elif section == "policies":
            valid = _policy(made, name, entry)
        else:
            valid = _validated(made, (section, name), entry_kind, entry)
        if valid is not None and valid_name is not None:
            entries[name] = valid


def _value(made: Partial, name: str, entry: Any) -> Any:
    key = ("values", name)
    if not isinstance(entry, dict):
        return _validated(made, key, dict[str, Any], entry)
    if "kind" not in entry:
        listed = ", ".join(rewards.KINDS)
        made.add(key, f"has no `kind`; expected one of {listed}; add `kind:`")
        return None
    if entry["kind"] not in rewards.KINDS:
        made.add((*key, "kind"), unknown(entry["kind"], "kind of reward", rewards.KINDS))
        return None
    return _validated(made, key, rewards.module(entry["kind"]).Spec, entry)


def _policy(made: Partial, family: str, entry: Any) -> Any:
    key = ("policies", family)
    if family not in families.NAMES:
        made.add(key, unknown(family, "family of policies", families.NAMES))
        return None
    settings = _validated(made, key, families.family(family).settings, entry)
    if settings is not None:
        for policy in families.family(family).policies(settings):
            if _validated(
                made, key, get_args(Study.model_fields["palettes"].annotation)[0], policy.variant
            ):
                continue
            return None
    return settings


def _validated(made: Partial, key: Key, kind: Any, given: Any) -> Any:
    """`given` as a `kind`, or None after noting its faults."""
    try:
        return TypeAdapter(kind).validate_python(given, strict=True)
    except ValidationError as error:
        made.faults += [from_pydantic(one, key, kind) for one in error.errors()]
        return None
