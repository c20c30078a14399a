"""A connection in words: the line of CLIENT LIST and CLIENT INFO."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sessions.session import Session


def describe(session: Session) -> bytes:
    """One client, as CLIENT LIST shows it, without the line's end. O(blocks of its output).

    Subscriptions and redirection are shown as none until there are such.
    """
    buffers = session.buffer_figures()
    fields: tuple[tuple[str, object], ...] = (
        ("id", session.id),
        ("addr", session.address),
        ("laddr", session.local_address),
        ("fd", session.descriptor),
        ("name", session.name),
        ("age", max(0, time.time_ns() // 1_000_000 - session.created_ms) // 1000),
        ("idle", session.idle_seconds),
        ("flags", flags_of(session)),
        ("db", session.database),
        ("sub", 0),
        ("psub", 0),
        ("ssub", 0),
        ("multi", session.queued),
        ("qbuf", buffers["qbuf"]),
        ("qbuf-free", buffers["qbuf-free"]),
        ("argv-mem", buffers["argv-mem"]),
        ("multi-mem", buffers["multi-mem"]),
        *((name, buffers[name]) for name in ("rbs", "rbp", "obl", "oll", "omem", "tot-mem")),
        ("events", session.events),
        ("cmd", session.last_command_name),
        ("user", session.user),
        ("redir", -1),
        ("resp", session.resp),
        ("lib-name", session.library_name),
        ("lib-ver", session.library_version),
    )
    return b" ".join(b"%b=%b" % (name.encode(), _text(value)) for name, value in fields)


def flags_of(session: Session) -> str:
    """The letters of Redis for the states that a client is in; N for none."""
    letters = (
        ("b", session.paused or session.blocked or session.waits_for_keys),
        ("x", session.in_multi),
        ("c", session.closing),
        ("U", session.transport == "unix"),
        ("e", session.no_evict),
        ("T", session.no_touch),
    )
    return "".join(letter for letter, holds in letters if holds) or "N"


def _text(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return str(value).encode("utf-8", "surrogateescape")
