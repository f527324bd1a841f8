"""Builds the optional C extension; all metadata is in pyproject.toml.

Without a C compiler or Python's headers the installation goes on: the pure-Python twin of `native` does the same work,
more slowly. DARKBLOOM_NATIVE_STRICT=1 turns compiler warnings and a failed build into errors.
"""

import os
import sys

from setuptools import setup
from setuptools.command.build_ext import build_ext

STRICT = os.environ.get("DARKBLOOM_NATIVE_STRICT") == "1"


class TolerantBuild(build_ext):
    """Builds the extension if the machine can, and says so clearly if it cannot."""

    def run(self):
        """Build; a failure is reported and forgiven unless the build is strict."""
        try:
            super().run()
        except Exception as error:
            if STRICT:
                raise
            report(error)

    def build_extension(self, ext):
        """Build one extension; a failure is reported and forgiven unless the build is strict."""
        try:
            super().build_extension(ext)
        except Exception as error:
            if STRICT:
                raise
            report(error)

    def copy_extensions_to_source(self):
        """Copy what was built; nothing is missing from an installation whose build was forgiven."""
        for ext in list(self.extensions):
            if not os.path.exists(os.path.join(self.build_lib, self.get_ext_filename(self.get_ext_fullname(ext.name)))):
                self.extensions.remove(ext)
        super().copy_extensions_to_source()


def report(error):
    """Say what the missing extension means and how to get it."""
    print(
        f"\ndarkbloom: the C extension native._speed was not built ({type(error).__name__}: {error}).\n"
        "darkbloom: the installation goes on with the pure-Python twin, which gives the same results more slowly.\n"
        "darkbloom: for full speed install a C compiler and Python's headers, then install again.\n",
        file=sys.stderr,
    )


setup(cffi_modules=["native/build.py:ffibuilder"], cmdclass={"build_ext": TolerantBuild})
