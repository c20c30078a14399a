"""The shape of COMMAND DOCS: everything in it that is an interface, and none of the prose.

Summaries, complexities, histories and replacements are told in our own words, so of these only
counts here that they are there, and the versions. Names, types, tokens, flags, key specs and
versions of arguments have to be those of Redis 7.2. tests/data/command-docs-7.2.json holds a digest
of each command's shape, taken from a redis-server 7.2 without and one with --sentinel:

    python -m tests.support.docs_shape PORT PORT > tests/data/command-docs-7.2.json
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

from tests.support.resp_client import Node, RespClient, parse

PROSE = ("summary", "complexity", "replaced_by")
DIGEST_CHARACTERS = 16


def plain(node: Node) -> Any:
    """A reply as values that JSON has; sets become sorted lists."""
    if node.kind == "%":
        return {
            plain(name): plain(value)
            for name, value in zip(node.value[::2], node.value[1::2], strict=True)
        }
    if node.kind == "~":
        return sorted((plain(child) for child in node.value), key=json.dumps)
    if node.kind == "*":
        return [plain(child) for child in node.value]
    if node.kind == ":":
        return int(node.value)
    text: str = node.value.decode()
    return text


def shapes(reply: Node) -> dict[str, Any]:
    """The shape of each command and subcommand of a RESP3 reply to COMMAND DOCS."""
    found: dict[str, Any] = {}

    def walk(commands: dict[str, Any]) -> None:
        for name, docs in commands.items():
            walk(docs.pop("subcommands", {}))
            history = [[version, bool(text)] for version, text in docs.get("history", [])]
            told = {field: bool(docs[field]) for field in PROSE if field in docs}
            found[name] = {**docs, **told, "history": history}

    walk(plain(reply))
    return found


def digest(shape: Any) -> str:
    """A short digest of one command's shape."""
    text = json.dumps(shape, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARACTERS]


def main(ports: list[int]) -> None:
    """Print the digests of the commands of running servers."""
    found: dict[str, str] = {}
    for port in ports:
        with RespClient(port) as client:
            client.call("HELLO", 3)
            reply = parse(client.call("COMMAND", "DOCS"))
        found |= {name: digest(shape) for name, shape in shapes(reply).items()}
    print(json.dumps(dict(sorted(found.items())), indent=0))


if __name__ == "__main__":
    main([int(port) for port in sys.argv[1:]])
