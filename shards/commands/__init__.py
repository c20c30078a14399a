"""The command families of the data plane: one file per family, declarations beside the code.

`FAMILIES` are the modules whose handlers run in a shard. The whole table of the server is made from
these and the modules of the other commands, by `CommandTable.from_modules`.
"""

from types import ModuleType

from shards.commands import cluster, generic, internal, server, string

FAMILIES: tuple[ModuleType, ...] = (cluster, generic, internal, server, string)
