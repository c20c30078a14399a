"""The TLS directives as an ssl.SSLContext.

The router makes a context first, so that a bad certificate is refused before anybody has been told
of it; workers make theirs from the same files, and keep what they have if that should fail.
Processes that start later inherit the router's, and with it the keys of its session tickets.

What Python's ssl cannot do:
  tls-ciphersuites            before Python 3.15: refused rather than ignored
  tls-session-cache-size      no access to the cache: OpenSSL's 20480 sessions
  tls-session-cache-timeout   likewise: OpenSSL's 7200 seconds (TLS 1.3), 300 (TLS 1.2)
  tls-session-caching no      no tickets are given out, which TLS 1.3 and most clients of TLS 1.2
                              need; the cache by session id stays
"""

from __future__ import annotations

import logging
import ssl
import warnings
from collections.abc import Mapping
from typing import Any, Final

PROTOCOLS: Final = {
    "tlsv1": ssl.TLSVersion.TLSv1,
    "tlsv1.1": ssl.TLSVersion.TLSv1_1,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
    "tlsv1.3": ssl.TLSVersion.TLSv1_3,
}
SWITCHES: Final = {
    "tlsv1": ssl.OP_NO_TLSv1,
    "tlsv1.1": ssl.OP_NO_TLSv1_1,
    "tlsv1.2": ssl.OP_NO_TLSv1_2,
    "tlsv1.3": ssl.OP_NO_TLSv1_3,
}
DEFAULT_PROTOCOLS: Final = ("tlsv1.2", "tlsv1.3")
CLIENT_CERTIFICATES: Final = {
    "no": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "yes": ssl.CERT_REQUIRED,
}
DIRECTIVES: Final = frozenset(
    {
        "tls-auth-clients",
        "tls-ca-cert-dir",
        "tls-ca-cert-file",
        "tls-cert-file",
        "tls-ciphers",
        "tls-ciphersuites",
        "tls-dh-params-file",
        "tls-key-file",
        "tls-key-file-pass",
        "tls-prefer-server-ciphers",
        "tls-protocols",
        "tls-session-caching",
    }
)
"""What a context is made from; it is made anew when one of them is set, if only to its old value,
which is how new certificates of the same name are put in force."""

logger = logging.getLogger("shardis")
Settings = Mapping[str, Any]


class TlsError(Exception):
    """No context can be made from the directives; the reason has been logged."""


def server_context(settings: Settings) -> ssl.SSLContext:
    """The context for connections that clients open. Raises TlsError."""
    if not settings["tls-cert-file"]:
        raise _refused("No tls-cert-file configured!")
    if not settings["tls-key-file"]:
        raise _refused("No tls-key-file configured!")
    authority = settings["tls-ca-cert-file"] or None, settings["tls-ca-cert-dir"] or None
    verify = CLIENT_CERTIFICATES[settings["tls-auth-clients"]]
    if verify is not ssl.CERT_NONE and not any(authority):
        raise _refused(
            "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, "
            "tls-replication or tls-auth-clients are enabled!"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_protocols(context, settings["tls-protocols"])
    _load_certificate(context, settings)
    if any(authority):
        try:
            context.load_verify_locations(*authority)
        except OSError as error:
            raise _refused(
                f"Failed to configure CA certificate(s) file/directory: {error}"
            ) from None
    context.verify_mode = verify
    _set_ciphers(context, settings)
    if not settings["tls-session-caching"]:
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_SINGLE_DH_USE
    if settings["tls-dh-params-file"]:
        try:
            context.load_dh_params(settings["tls-dh-params-file"])
        except OSError as error:
            raise _refused(
                f"Failed to load DH params file: {settings['tls-dh-params-file']}: {error}"
            ) from None
    return context


def _refused(reason: str) -> TlsError:
    logger.warning("%s", reason)
    return TlsError(reason)


def _set_protocols(context: ssl.SSLContext, text: str) -> None:
    names = text.lower().split(" ") if text else list(DEFAULT_PROTOCOLS)
    if not set(names) <= PROTOCOLS.keys():
        raise _refused(
            "Invalid tls-protocols specified. "
            "Use a combination of 'TLSv1', 'TLSv1.1', 'TLSv1.2' and 'TLSv1.3'."
        )
    chosen = [name for name in PROTOCOLS if name in names]
    with warnings.catch_warnings():
        # Old versions are the operator's wish; ssl warns of each, and of switching one off
        # between two others, for which it has no other way.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = PROTOCOLS[chosen[0]]
        context.maximum_version = PROTOCOLS[chosen[-1]]
        for name, switch in SWITCHES.items():
            if name not in names:
                context.options |= switch


def _load_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    certificate, key = settings["tls-cert-file"], settings["tls-key-file"]
    password: str = settings["tls-key-file-pass"]
    try:
        # Always with a password: OpenSSL would ask for a missing one on the terminal.
        context.load_cert_chain(certificate, key, lambda: password.encode(errors="surrogateescape"))
    except (OSError, ValueError) as error:
        raise _refused(f"Failed to load certificate: {certificate}, {key}: {error}") from None


def _set_ciphers(context: ssl.SSLContext, settings: Settings) -> None:
    try:
        # Python would choose fewer than OpenSSL, which redis-server leaves the choice to.
        context.set_ciphers(settings["tls-ciphers"] or "DEFAULT")
    except (ssl.SSLError, UnicodeError):
        raise _refused(f"Failed to configure ciphers: {settings['tls-ciphers']}") from None
    suites = settings["tls-ciphersuites"]
    if suites:
        set_suites = getattr(context, "set_ciphersuites", None)
        if set_suites is None:
            raise _refused("tls-ciphersuites needs Python 3.15 or newer")
        try:
            set_suites(suites)
        except (ssl.SSLError, UnicodeError):
            raise _refused(f"Failed to configure ciphersuites: {suites}") from None
    if not settings["tls-prefer-server-ciphers"]:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE  # which Python sets by itself
