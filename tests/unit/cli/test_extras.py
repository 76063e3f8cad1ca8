"""A command whose packages are not installed names the extra that has them."""

import pytest

from polyalign.cli import main
from polyalign.cli.extras import advice, require
from polyalign.errors import InputError


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("app", "gradio", "app"),
        ("serve", "fastapi", "serve"),
        ("serve", "torch", "workflow"),
        ("app", "transformers.utils", "workflow"),
    ],
)
def test_the_extra_is_that_of_the_command(command: str, module: str, extra: str) -> None:
    assert advice(command, module).endswith(f"pip install 'polyalign[{extra}]'")


def test_a_module_that_no_extra_has_is_no_matter_of_extras() -> None:
    assert advice("solve", "nonsense") == ""
    assert advice("solve", None) == ""


def test_the_first_module_that_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyalign.cli.extras.find_spec", lambda name: name == "fastapi" or None)
    require("serve", "fastapi")
    with pytest.raises(InputError, match="uvicorn is not installed"):
        require("serve", "fastapi", "uvicorn", "torch")


@pytest.mark.parametrize("name", ["torch", "nonsense"])
def test_an_import_that_fails_late_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def lacks(module: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("polyalign.cli.import_module", lacks)
    if name == "nonsense":  # a fault of ours, which must not look like the user's
        with pytest.raises(ModuleNotFoundError):
            main(["answer", "hello"])
        return
    assert main(["answer", "hello"]) == 2
    assert capsys.readouterr().err == (
        "polyalign: torch is not installed; expected it for `polyalign answer`; "
        "pip install 'polyalign[workflow]'\n"
    )
