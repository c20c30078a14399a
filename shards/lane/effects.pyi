from typing import final

from shards.keyspace.keyspace import Keyspace

GROUP_STATE: bytes  # of a stream's group: counted and logged, signalled to nobody
NO_EVENT: bytes  # a change that Redis counts, logs and signals, but tells nobody of

@final
class Effects:
    """What the changes of a keyspace owe besides the data, told to consumers.

    A consumer has some of these methods, and sees what it has a method for:

        before_change(database, key, exists)
        before_node(structure, node)                addresses
        changed(database, key, event, class, count)
        removed(database, key, reason)              1 expired, 2 evicted, 3 deleted,
                                                    4 overwritten, 5 moved
        emptied(database)
        swapped(first, second)
        record(transaction, time_ns, database, last_database, data)
    """

    def __init__(self, keyspace: Keyspace) -> None: ...
    def attach(self, consumer: object) -> None: ...
    def detach(self, consumer: object) -> None: ...
    def begin(self, database: int, raw: bytes) -> None: ...
    def end(self) -> None: ...
    def log_mark(self) -> tuple[int, int, int]: ...
    def rewind_log(self, mark: tuple[int, int, int]) -> None:
        """Forget what was logged since, for a command that says anew what it has done."""
