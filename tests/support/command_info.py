"""Digests of COMMAND INFO: what one command's entry is, byte for byte, without its subcommands.

Redis shows the subcommands of a container in the order of a hash table, which differs from process
to process, so each is looked at by itself. tests/data/command-info-7.2.json holds the digests of a
redis-server 7.2.6:

    python -m tests.support.command_info PORT > tests/data/command-info-7.2.json
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator

from tests.support.resp_client import Node, RespClient, parse

DIGEST_CHARACTERS = 16
SUBCOMMANDS = 9
"""Where an entry has them: last."""


def text_of(node: Node) -> str:
    """A reply in one line: kinds, values and order are kept. O(length)."""
    if isinstance(node.value, list):
        return f"{node.kind}({' '.join(map(text_of, node.value))})"
    return f"{node.kind}{node.value!r}"


def entries(described: Node) -> Iterator[tuple[str, str]]:
    """Name and text of each command and subcommand of a RESP3 reply to COMMAND INFO."""
    for entry in described.value:
        *own, subcommands = entry.value
        assert len(own) == SUBCOMMANDS
        yield entry.value[0].value.decode(), " ".join(map(text_of, own))
        yield from entries(subcommands)


def digest(text: str) -> str:
    """A short digest of one entry's text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARACTERS]


def main(port: int) -> None:
    """Print the digests of the commands of a running server."""
    with RespClient(port) as client:
        client.call("HELLO", 3)
        described = dict(entries(parse(client.call("COMMAND", "INFO"))))
    digests = {name: digest(text) for name, text in sorted(described.items())}
    print(json.dumps(digests, indent=0))


if __name__ == "__main__":
    main(int(sys.argv[1]))
