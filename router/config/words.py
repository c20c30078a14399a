"""The words of a configuration line: splitting and quoting, by Redis's rules.

Text is str with bytes that are not UTF-8 as surrogates (`surrogateescape`), so that nothing is lost
between a file, the values and a reply.
"""

from __future__ import annotations

from typing import Final

ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}
ESCAPED: Final = {sign: "\\" + name for name, sign in ESCAPES.items()} | {'"': '\\"', "\\": "\\\\"}
BLANKS: Final = " \t\n\r\v\f"
"""What may be before a word and after a closing quote."""
WORD_ENDS: Final = " \t\n\r\0"
"""What ends a word: a vertical tab or a form feed inside of it does not."""


def text_of(value: bytes) -> str:
    """Bytes as the text this package works with."""
    return value.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """The bytes that a text stands for."""
    return text.encode("utf-8", "surrogateescape")


def split_words(line: str) -> list[str] | None:
    """The words of a line with Redis's quoting; None when quotes are unbalanced. O(line).

    Double quotes know \\n, \\r, \\t, \\b, \\a and \\xHH, single quotes only \\'; a closing quote
    must be followed by a blank or the end. A quote may begin within a word: `a"b"` is `ab`.
    """
    words: list[str] = []
    line = line.partition("\0")[0]
    at, end = 0, len(line)
    while True:
        while at < end and line[at] in BLANKS:
            at += 1
        if at >= end:
            return words
        word: list[str] = []
        while at < end and line[at] not in WORD_ENDS:
            if line[at] in "\"'":
                closed = _quoted(line, at, word)
                if closed is None or (closed < end and line[closed] not in BLANKS):
                    return None
                at = closed
                break
            word.append(line[at])
            at += 1
        # Bytes written one by one as \xHH may form a character together.
        words.append(text_of(bytes_of("".join(word))))


def _quoted(line: str, at: int, word: list[str]) -> int | None:
    """Append what a quotation at `at` holds; the index after it, None when it does not end."""
    quote = line[at]
    at += 1
    while at < len(line):
        sign = line[at]
        following = line[at + 1 : at + 2]
        if sign == quote:
            return at + 1
        if sign == "\\" and following and (quote == '"' or following == "'"):
            digits = line[at + 2 : at + 4]
            if quote == '"' and following == "x" and _is_hex(digits):
                word.append(text_of(bytes([int(digits, 16)])))
                at += 4
            else:
                word.append(ESCAPES.get(following, following) if quote == '"' else following)
                at += 2
        else:
            word.append(sign)
            at += 1
    return None


def _is_hex(text: str) -> bool:
    return len(text) == 2 and all(digit in "0123456789abcdefABCDEF" for digit in text)


def quote_word(word: str) -> str:
    """The word in double quotes as CONFIG REWRITE writes it; `split_words` gives it back. O(word).

    All bytes that are not printable ASCII become \\xHH.
    """
    quoted: list[str] = []
    for byte in bytes_of(word):
        sign = chr(byte)
        if sign in ESCAPED:
            quoted.append(ESCAPED[sign])
        elif " " <= sign <= "~":
            quoted.append(sign)
        else:
            quoted.append(f"\\x{byte:02x}")
    return '"' + "".join(quoted) + '"'
