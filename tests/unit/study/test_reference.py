"""The schema and the docs are those of the typed model."""

import json
from pathlib import Path

import generated
import pytest
from pydantic import Field

from polyalign import families, rewards
from polyalign.settings import Strict
from polyalign.study import Study
from polyalign.study.reference import schema

FILES = generated.files()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_generated_files_are_current(path: Path) -> None:
    current = path.read_text(encoding="utf-8")
    assert current == FILES[path], "run `make generated` and commit what it writes"


def test_the_schema_knows_every_kind_family_and_key() -> None:
    made = schema()
    kinds = {
        part["properties"]["kind"]["const"]
        for part in made["$defs"].values()
        if "const" in part["properties"].get("kind", {})
    }
    assert kinds == set(rewards.KINDS)
    assert set(made["$defs"]["Policies"]["properties"]) == set(families.NAMES)
    assert set(made["properties"]) == set(Study.model_fields)
    assert all(not part["additionalProperties"] for part in made["$defs"].values())
    assert made["additionalProperties"] is False
    json.dumps(made, allow_nan=False)


def test_every_key_of_the_schema_is_described() -> None:
    made = schema()
    sections = {"the study": made, **made["$defs"]}
    assert all("description" in section for section in made["$defs"].values())
    bare = [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, part in section["properties"].items()
        if not {"description", "$ref"} & set(part) and key != "kind"
    ]
    assert bare == []


def test_a_section_needs_descriptions() -> None:
    with pytest.raises(TypeError, match="no description: size"):

        class Bare(Strict):
            name: str = Field(description="Name.")
            size: int = 1
