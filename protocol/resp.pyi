class Scanner:
    """The scanner for Python: a buffer, and the commands that become whole in it."""

    def __init__(
        self,
        *,
        bulk_bytes_max: int = ...,
        inline_bytes_max: int = ...,
        unauthenticated: bool = False,
    ) -> None: ...
    def feed(self, data: bytes) -> list[list[bytes]]:
        """The commands that `data` completes, empty ones left out. O(bytes) over all calls.

        Raises ProtocolError, whose `commands` are those before the fault, and goes on raising it.
        """

    @property
    def pending(self) -> int: ...  # bytes of a command that is not whole yet
    @property
    def wanted(self) -> int: ...  # at least so many more bytes are needed; 0: not known
    @property
    def half_read(self) -> dict[str, int]: ...  # the fields of Progress
    @property
    def spans_size(self) -> int: ...  # arguments there is room for
    @property
    def encoded_inline(self) -> bytes: ...  # the last inline command as a RESP array
