"""The wheel holds the workflow too: rules, scripts, schema, texts of the report, environments.

Jobs name these files by their places in a checkout. So the wheel has a checkout inside the package,
`polyalign/checkout`, and the library lies in it, at `workflow/polyalign`, as everywhere else. The
package itself only says where that is. An editable installation is the checkout itself.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
WORKFLOW = ("Snakefile", "envs/*.yaml", "workflow/*/*.*")
"""Files of the workflow beside the library, from the root."""

POINTER = """
from pathlib import Path

__path__ = [str(Path(__file__).parent / "checkout/workflow/polyalign")]
"""


class WithWorkflow(build_py):
    """Builds the library, and then puts it into a checkout with the rest of the workflow."""

    def run(self) -> None:
        """Build; nothing is copied for an editable installation."""
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib, "polyalign")
        library = Path(self.build_lib, "checkout/workflow/polyalign")
        checkout = library.parents[1]
        for built in (package / "checkout", checkout):  # of a build before
            shutil.rmtree(built, ignore_errors=True)
        library.parent.mkdir(parents=True)
        package.rename(library)
        for pattern in WORKFLOW:
            for file in ROOT.glob(pattern):
                if file.is_file() and "polyalign" not in file.relative_to(ROOT).parts:
                    place = checkout / file.relative_to(ROOT)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, place)
        package.mkdir()
        checkout.rename(package / "checkout")
        text = Path(package, "checkout/workflow/polyalign/__init__.py").read_text(encoding="utf-8")
        Path(package, "__init__.py").write_text(text + POINTER, encoding="utf-8")


setup(cmdclass={"build_py": WithWorkflow})
