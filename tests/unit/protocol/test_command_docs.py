"""COMMAND DOCS: the notation of its files, and that the files say what Redis 7.2 says.

The interface facts (arguments, versions, flags) are held against digests of redis-server 7.2.6's
own replies; see tests/support/docs_shape.py.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from protocol.command_docs import (
    FOLDER,
    Argument,
    DocsError,
    docs_of,
    documented,
    parse_entry,
    parse_syntax,
    read_entries,
    write_command_docs,
)
from protocol.commands import Command, CommandTable, F, Place, Request, Response
from protocol.reply import Reply
from router.table import full_table
from tests.meta.sources import ROOT
from tests.support.docs_shape import digest, shapes
from tests.support.resp_client import Node, parse

DIGESTS: dict[str, str] = json.loads((ROOT / "tests/data/command-docs-7.2.json").read_text())
FACTS = json.loads((ROOT / "tests/data/commands-7.2.json").read_text())
NAMES = ["|".join(filter(None, [fact.get("container"), fact["name"]])) for fact in FACTS]
SUMMARY_CHARACTERS_MAX = 110


def declared(name: str, flags: F = F(0)) -> Command:
    return Command(
        name=name,
        arity=-1,
        flags=flags,
        keys=(),
        place=Place.SESSION,
        request=Request.DEFAULT,
        response=Response.DEFAULT,
        tips=(),
        acl=(),
        group="zset",
        handler=None,
    )


EVERYTHING = CommandTable(declared(name) for name in NAMES)


def reply_of(command: Command, resp: int) -> bytes:
    reply = Reply(resp)
    write_command_docs(reply, command)
    return reply.take()


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", ()),
        ("<value>", (Argument("value", "string"),)),
        ("<key@0>", (Argument("key", "key", key_spec=0),)),
        ("<by:pattern@1/pattern>", (Argument("by", "pattern", "pattern", 1),)),
        ("<old/ip:port>", (Argument("old", "string", "ip:port"),)),
        ("NX", (Argument("nx", "pure-token", token="NX"),)),
        ('equal="="', (Argument("equal", "pure-token", token="="),)),
        ('none=""', (Argument("none", "pure-token", token=""),)),
        ("<help:pure-token>", (Argument("help", "pure-token"),)),
        ("EX<s:integer>", (Argument("s", "integer", token="EX"),)),
        (
            "EX <s:integer>",
            (Argument("ex", "pure-token", token="EX"), Argument("s", "integer")),
        ),
        ("[NX^2.6.12]", (Argument("nx", "pure-token", token="NX", since="2.6.12", optional=True),)),
        ("<a>!2.8.12", (Argument("a", "string", deprecated_since="2.8.12"),)),
        ("<a>...", (Argument("a", "string", multiple=True),)),
        (
            "[GET<p:pattern>+...]",
            (
                Argument(
                    "p",
                    "pattern",
                    token="GET",
                    optional=True,
                    multiple=True,
                    multiple_token=True,
                ),
            ),
        ),
        (
            "limit=LIMIT{<a:integer> [<b:double>]}... x=(A | <b>)",
            (
                Argument(
                    "limit",
                    "block",
                    token="LIMIT",
                    multiple=True,
                    arguments=(
                        Argument("a", "integer"),
                        Argument("b", "double", optional=True),
                    ),
                ),
                Argument(
                    "x",
                    "oneof",
                    arguments=(Argument("a", "pure-token", token="A"), Argument("b", "string")),
                ),
            ),
        ),
    ],
)
def test_the_notation_says_what_its_description_says(
    text: str, arguments: tuple[Argument, ...]
) -> None:
    assert parse_syntax(text) == arguments


@pytest.mark.parametrize(
    "text",
    [
        *("<a", "<a:word>", "(A | B)", "x=", "x=<a>", "x=(A", "x=(A | )", "[<a> <b>]", "<a>]"),
        *("x={<a>", "A | B", "EX<>", "x=(A | B", "lower", "A ?", "...", "[]"),
    ],
)
def test_a_wrong_syntax_is_refused(text: str) -> None:
    with pytest.raises(DocsError):
        parse_syntax(text)


def test_an_entry_is_read_with_its_continued_lines() -> None:
    text = (
        "# a comment\n\nPUT <key@0>\n        <value>\n    Put\n        it.\n    since 1.0.0\n"
        "    deprecated 2.0.0 `SET`\n    flags syscmd\n    1.5.0 takes more\n\nB\n    b\n"
    )
    entries = dict(read_entries(text))
    assert list(entries) == ["PUT", "B"]
    docs = parse_entry("string", entries["PUT"])
    assert (docs.name, docs.group, docs.summary) == ("PUT", "string", "Put it.")
    assert [argument.name for argument in docs.arguments] == ["key", "value"]
    assert docs.flags == ("deprecated", "syscmd")
    assert (docs.deprecated_since, docs.replaced_by) == ("2.0.0", "`SET`")
    assert docs.history == (("1.5.0", "takes more"),)
    assert docs.complexity == ""


@pytest.mark.parametrize(
    "text",
    [
        *("    since 1.0.0\n", "A\n", "A\n    What.\n", "A\n  What.\n"),
        "A\n    What.\n    since 1.0.0\n    since 1.0.0\n",
        "A\n    What.\n    since 1.0.0\n    coast O(1)\n",
    ],
)
def test_a_wrong_entry_is_refused(text: str) -> None:
    def read() -> None:
        for _, lines in read_entries(text):
            parse_entry("string", lines)

    with pytest.raises(DocsError):
        read()


def test_every_command_of_redis_is_described_and_no_other() -> None:
    assert set(documented()) == set(NAMES)
    assert set(DIGESTS) == {name.lower() for name in NAMES}


@pytest.mark.parametrize("name", [name for name in NAMES if "|" not in name])
def test_the_interface_of_the_reply_is_that_of_redis(name: str) -> None:
    raw = b"%%1\r\n$%d\r\n%s\r\n" % (len(name), name.lower().encode())
    own = shapes(parse(raw + reply_of(EVERYTHING[name], 3)))
    differing = [one for one, shape in own.items() if digest(shape) != DIGESTS[one]]
    assert not differing, {one: own[one] for one in differing}


def test_summaries_are_short_sentences() -> None:
    for name in NAMES:
        docs = docs_of(name)
        assert docs is not None
        assert docs.summary.endswith("."), docs
        assert docs.summary[0].isupper(), docs
        assert len(docs.summary) <= SUMMARY_CHARACTERS_MAX, docs


def test_both_protocols_have_the_same_content() -> None:
    def flat(node: Node) -> list[object]:
        if isinstance(node.value, list):
            return [item for child in node.value for item in flat(child)]
        return [(node.kind, node.value)]

    for name in ("SET", "XGROUP", "GETSET", "PFDEBUG"):
        two, three = (parse(reply_of(EVERYTHING[name], resp)) for resp in (2, 3))
        assert flat(two) == flat(three)
        assert (two.kind, three.kind) == ("*", "%")


def test_every_declared_command_that_clients_see_is_described() -> None:
    seen = {command.name for command in full_table() if F.INTERNAL not in command.flags}
    assert seen <= set(documented())
    with pytest.raises(DocsError, match="OURS"):
        reply_of(declared("OURS"), 3)


def test_internal_subcommands_are_not_shown() -> None:
    table = CommandTable([declared("GET"), declared("GET|SECRET", F.INTERNAL)])
    assert b"secret" not in reply_of(table["GET"], 2)


def test_nothing_is_read_before_the_first_question() -> None:
    """A server starts without the documentation: neither its files nor its module."""
    program = (
        "import sys\n"
        f"sys.addaudithook(lambda event, args: event == 'open' and {str(FOLDER)!r} in str(args[0])"
        " and sys.exit(3))\n"
        "import router.table\n"
        "router.table.full_table()\n"
        "assert 'protocol.command_docs' not in sys.modules\n"
        "from protocol.command_docs import docs_of\n"
        "print('untouched', flush=True)\n"
        "docs_of('GET')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "untouched\n"), done.stderr
