"""Certificates for tests, made with the openssl command when they are first needed."""

from __future__ import annotations

import atexit
import functools
import shutil
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

HAS_OPENSSL = shutil.which("openssl") is not None
PASSWORD = "a test's"


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths: an authority, a server's and a client's certificate by it, and a stranger's."""

    directory: Path

    def __getattr__(self, name: str) -> str:
        """`server_crt`, `server_key` and so on."""
        return str(self.directory / name.replace("_", "."))


@functools.cache
def certificates() -> Certificates:
    """The certificates of this run of the tests."""
    directory = Path(tempfile.mkdtemp(prefix="certificates-test-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    for name in ("ca", "other"):
        openssl(
            *("req", "-x509", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.crt"),
            *("-days", "2", "-subj", f"/CN={name}"),
        )
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"
    for name in ("server", "second", "client"):
        openssl(
            *("req", "-x509", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.crt"),
            *("-days", "2", "-subj", f"/CN={name}", "-addext", names),
            *("-CA", "ca.crt", "-CAkey", "ca.key"),
        )
    # RSA for the ciphers that need it, and with a password.
    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-keyout", "rsa.key", "-out", "rsa.crt"),
        *("-days", "2", "-subj", "/CN=rsa", "-addext", names, "-CA", "ca.crt", "-CAkey", "ca.key"),
        *("-passout", f"pass:{PASSWORD}"),
    )
    return Certificates(directory)


def server_options() -> list[str]:
    """Directives of a server whose clients need no certificate."""
    files = certificates()
    return [
        *("--tls-cert-file", files.server_crt, "--tls-key-file", files.server_key),
        *("--tls-ca-cert-file", files.ca_crt, "--tls-auth-clients", "no"),
    ]


def client_context(name: str = "") -> ssl.SSLContext:
    """The context of a client, with the certificate of this name."""
    files = certificates()
    context = ssl.create_default_context(cafile=files.ca_crt)
    if name:
        directory = files.directory
        context.load_cert_chain(directory / f"{name}.crt", directory / f"{name}.key")
    return context
