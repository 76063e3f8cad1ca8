"""Packages that some commands need and the bare installation lacks, and the extra that has them."""

from importlib.util import find_spec

from polyalign.errors import InputError

EXTRAS = {
    "workflow": (
        "accelerate",
        "datasets",
        "gguf",
        "huggingface_hub",
        "peft",
        "pygments",
        "safetensors",
        "snakemake",
        "tokenizers",
        "torch",
        "tqdm",
        "transformers",
        "trl",
    ),
    "app": ("fastapi", "gradio", "starlette", "uvicorn"),
    "serve": ("fastapi", "starlette", "uvicorn"),
}
"""Extra of pyproject.toml → the modules that it brings."""


def require(command: str, *modules: str) -> None:
    """Refuse to go on without a module.

    Raises:
        InputError: naming the first that is not installed, and the extra that has it.
    """
    for module in modules:
        if find_spec(module) is None:
            raise InputError(advice(command, module))


def advice(command: str, module: str | None) -> str:
    """What to install for a command that lacks a module; empty if no extra has the module."""
    name = (module or "").partition(".")[0]
    found = [extra for extra, modules in EXTRAS.items() if name in modules]
    if not found:
        return ""
    extra = command if command in found else found[0]
    return (
        f"{name} is not installed; expected it for `polyalign {command}`; "
        f"pip install 'polyalign[{extra}]'"
    )
