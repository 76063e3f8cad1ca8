"""`python -m polyalign.config`: write the schema and the reference of the config again."""

from pathlib import Path

from polyalign.config.reference import docs_text, schema_text
from polyalign.files import write_text

ROOT = Path(__file__).parents[3]
FILES = {
    ROOT / "workflow" / "schemas" / "config.schema.json": schema_text,
    ROOT / "docs" / "config.md": docs_text,
}


def main() -> None:
    """Write every generated file and say so."""
    for path, text in FILES.items():
        write_text(path, text())
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
