"""The command families of the data plane: one file per family, declarations beside the code.

`FAMILIES` are the modules whose handlers run in a shard. The whole table of the server is made from
these and the modules of the other commands, by `CommandTable.from_modules`.
"""

from types import ModuleType

from shards.commands import (
    bitmap,
    cluster,
    dump,
    generic,
    geo,
    hash,
    hyperloglog,
    internal,
    list,
    server,
    set,
    sort,
    stream,
    string,
    transactions,
    zset,
)

FAMILIES: tuple[ModuleType, ...] = (
    bitmap,
    cluster,
    dump,
    generic,
    geo,
    hash,
    hyperloglog,
    internal,
    list,
    server,
    set,
    sort,
    stream,
    string,
    transactions,
    zset,
)
