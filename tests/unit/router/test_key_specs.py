"""Key positions spec by spec agree with the native table, which routes by them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.commands import CommandTable, Keys, command
from protocol.key_specs import key_positions
from protocol.table import NativeTable


def declare(name: str, *keys: Keys) -> None:
    def handler() -> None:
        """Nothing."""

    HANDLERS.append(command(name, arity=-1, keys=keys)(handler))


HANDLERS: list[object] = []
declare("ONE", Keys(1))
declare("ALL", Keys(1, -1))
declare("PAIRS", Keys(1, -1, 2))
declare("TWO", Keys(1), Keys(2))
declare("COUNTED", Keys(3, count_at=2))
declare("STORED", Keys(1), Keys(3, count_at=2))
declare("STREAMED", Keys(1, -1, keyword="STREAMS", limit=2))
TABLE = CommandTable(one for handler in HANDLERS for one in handler.commands)  # type: ignore[attr-defined]
NATIVE = NativeTable(TABLE)
WORDS = st.lists(
    st.sampled_from(
        [b"a", b"b", b"0", b"1", b"2", b"3", b"-1", b"2x", b"+01", b"99999999", b"streams"]
    ),
    max_size=8,
)


@given(st.sampled_from([one.name for one in TABLE]), WORDS)
def test_both_find_the_same_keys(name: str, words: list[bytes]) -> None:
    declared = TABLE[name]
    args = [name.encode(), *words]
    positions = key_positions(declared, args)
    found = None if positions is None else [index for index, _ in positions]
    native = NATIVE.keys(declared.id, args)
    if found and native is None and name == "STREAMED":
        assert (len(args) - found[0]) % 2  # ids are missing
        return
    assert found == native or (not found and not native)
