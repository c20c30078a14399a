from protocol.commands import CommandTable

UNKNOWN_COMMAND: int
UNKNOWN_SUBCOMMAND: int
KEYS_NONE: int
KEYS_RANGE: int
KEYS_DECLARED: int

class NativeTable:
    """A CommandTable for the scanner. Immutable once made."""

    table: CommandTable

    def __init__(self, table: CommandTable) -> None: ...
    def lookup(self, args: list[bytes]) -> int:
        """The id of the command with these arguments, or UNKNOWN_COMMAND, UNKNOWN_SUBCOMMAND."""

    def keys(self, id: int, args: list[bytes]) -> list[int] | None:
        """The indexes of a command's keys; None when its arguments don't fit its key specs."""

    def spec(self, id: int) -> dict[str, int]:
        """The compiled fields of a command, for tests and tools."""
