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
    headers = sysconfig.get_path("include")
    if not os.path.exists(os.path.join(headers, "Python.h")):
        yield f"Python's headers are missing ({headers}/Python.h): install python3-dev"
    # As setuptools will call it, which may be by several words.
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        yield f"the C compiler {compiler[0]} is missing (Debian: apt install gcc libc6-dev)"
    else:
        error = compile_program(compiler)
        if error:
            yield (
                f"{shlex.join(compiler)} can't compile a C program (Debian: apt install gcc "
                f"libc6-dev): {error}"
            )


def has_venv():
    """Whether an environment with pip can be made: Debian has `venv` without `ensurepip`."""
    return (
        subprocess.call([sys.executable, "-c", "import venv, ensurepip"], stderr=subprocess.DEVNULL)
        == 0
    )


def compile_program(compiler):
    """Compile and link a program; what the compiler says if it can't, or ""."""
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "program.c")
        with open(source, "w") as file:
            file.write("#include <stdlib.h>\nint main(void) { return 0; }\n")
        done = subprocess.run(
            [*compiler, "-o", os.path.join(folder, "program"), source],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    if done.returncode == 0:
        return ""
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    return next((line for line in lines if "error" in line), lines[0] if lines else "no reason")


def main():
    venv = sys.argv[1] if len(sys.argv) > 1 else ""
    found = list(missing(venv))
    for reason in found:
        sys.stderr.write(reason + "\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
