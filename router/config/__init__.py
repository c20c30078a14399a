"""The configuration: redis.conf, the command line and CONFIG, over one table of directives.

    words       splitting and quoting of lines
    kinds       how values are read, printed and written to a file
    directives  the table: every directive of Redis 7.2, and our own
    pending     which of them nothing acts on yet, and whether they are refused
    reader      files to lines, with Redis's errors
    values      Config: the values, loading, CONFIG GET and SET
    rewriter    CONFIG REWRITE

How a directive gets its effect:

1. Its line is in `directives.py`; its line in `pending.py` (and in docs/configuration.md) goes.
2. At its start a process has all values: `Boot.config` is `Config.snapshot()`, by primary names,
   never by an alias. In the router, `Admin.config[name]` is the value in force.
3. CONFIG SET calls, in this order: `Config.prepare` (all pairs are checked, nothing has happened),
   `Endpoint.stage` (sockets and certificates) and `router.main.RouterSettings.apply(changes)` (the
   only places that may still refuse, by SetError, and must then have changed nothing),
   `Config.commit`, and the broadcast {"op": "config", "changes"} that ends in
   `Worker._apply(changes)` and `ShardProcess._apply(changes)`. All living processes have
   acknowledged it before +OK leaves, and all see changes in the same order. A process that
   starts meanwhile has them from its snapshot.
4. `changes` holds the directives that were named, as values of their kind (bool, int, str; lists
   for client-output-buffer-limit), changed or not: an effect must bear being told the same twice.
5. Lines that set no value (user, loadmodule, rename-command) are in `Config.lines` by their name,
   each as the list of its arguments, once they have left `pending.py`.
6. `is_sensitive(name)` says whose values SLOWLOG and MONITOR must not show.
"""

from router.config.directives import BY_NAME, DIRECTIVES, Directive, Mark, is_sensitive
from router.config.kinds import ValueRefused
from router.config.pending import NOT_ACTED_ON
from router.config.reader import ConfigError, FileUnreadable
from router.config.values import Config, SetError, set_failed

__all__ = [
    "BY_NAME",
    "DIRECTIVES",
    "NOT_ACTED_ON",
    "Config",
    "ConfigError",
    "Directive",
    "FileUnreadable",
    "Mark",
    "SetError",
    "ValueRefused",
    "is_sensitive",
    "set_failed",
]
