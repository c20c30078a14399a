"""Say what this machine lacks before anything is built, and what to install.

    python3 scripts/check_machine.py [VENV]     exit code 1 if something is missing

Runs with any Python 3, as it has to say that this one is too old.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile

OLDEST = (3, 11)


def missing(venv):
    """Reasons why the build would fail, each with what to do."""
    found, oldest = (".".join(map(str, version[:2])) for version in (sys.version_info, OLDEST))
    if sys.version_info < OLDEST:
        yield f"Python {found} is too old: {oldest} or later is needed (make PYTHON=...)"
        return
    if venv and not has_venv():
        yield (
            "Python has no venv module: install python3-venv (Debian: apt install python3-venv), "
            "or use an environment of your own with make VENV= PYTHON=/path/to/its/python"
        )
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        yield f"the C compiler {compiler} is missing (Debian: apt install gcc libc6-dev)"
    elif not compiles(compiler):
        yield f"{compiler} can't compile a C program: its headers are missing (Debian: libc6-dev)"
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    if not os.path.exists(header):
        yield f"Python's headers are missing ({header}): install python3-dev"


def has_venv():
    """Whether an environment with pip can be made: Debian has `venv` without `ensurepip`."""
    return (
        subprocess.call([sys.executable, "-c", "import venv, ensurepip"], stderr=subprocess.DEVNULL)
        == 0
    )


def compiles(compiler):
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "program.c")
        with open(source, "w") as file:
            file.write("#include <stdlib.h>\nint main(void) { return 0; }\n")
        return (
            subprocess.call(
                [compiler, "-o", os.path.join(folder, "program"), source],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            == 0
        )


def main():
    venv = sys.argv[1] if len(sys.argv) > 1 else ""
    found = list(missing(venv))
    for reason in found:
        sys.stderr.write(reason + "\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
