"""A private directory for temporary files of libraries.

The array library may compile kernels at run time: it writes them below the system's temporary directory under names
that anybody can guess, and loads what it finds there. In a directory that others can write to, that is a way in.
"""

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

DIRECTORY_NAME: Final = "tmp"


def use_private_temporary(home: Path) -> bool:
    """Point libraries to an empty directory below `home` that only this user may enter; False if there is none.

    Python's own temporary directory stays what it was: other programs of this user look there too. Blocks.
    """
    tempfile.gettempdir()  # remembered before the variable changes
    path = home / DIRECTORY_NAME
    try:
        if path.is_symlink() or path.exists():
            path.unlink() if path.is_symlink() or not path.is_dir() else shutil.rmtree(path)
        path.mkdir(mode=0o700)
        facts = path.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        return False
    os.environ["TMPDIR"] = str(path.absolute())
    return True
