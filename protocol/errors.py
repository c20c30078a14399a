"""Every error text a client can see, compared with redis-server's by the differential tests."""


class CommandError(Exception):
    """A client's mistake; `args[0]` is the reply without the leading dash, as bytes.

    A handler raises it before it has changed anything.
    """

    def __init__(self, message: bytes) -> None:
        super().__init__(message)
        self.message = message


class ProtocolError(Exception):
    """Input that is no RESP; `text` is what the client is told before the connection closes.

    `commands` are the whole commands that came before it in the same input.
    """

    def __init__(self, text: bytes, commands: list[list[bytes]] | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.commands = commands or []


SYNTAX = b"ERR syntax error"
INTERNAL_ERROR = b"ERR internal error"  # a mistake of ours, which the log describes
WRONG_TYPE = b"WRONGTYPE Operation against a key holding the wrong kind of value"
NOT_INTEGER = b"ERR value is not an integer or out of range"
NOT_FLOAT = b"ERR value is not a valid float"
NO_SUCH_KEY = b"ERR no such key"
SAME_OBJECT = b"ERR source and destination objects are the same"
NAN_OR_INFINITY = b"ERR increment would produce NaN or Infinity"
LOADING = b"LOADING Redis is loading the dataset in memory"
CROSS_SLOT = b"CROSSSLOT Keys in request don't hash to the same slot"
CLUSTER_DOWN = b"CLUSTERDOWN The cluster is down"
CLUSTER_DOWN_READS = b"CLUSTERDOWN The cluster is down and only accepts read commands"
SLOT_UNSERVED = b"CLUSTERDOWN Hash slot not served"
CLUSTER_DISABLED = b"ERR This instance has cluster support disabled"
NOT_IN_CLUSTER = b"ERR %s is not allowed in cluster mode"

_SLOTS_ARE_OURS = (
    b"ERR CLUSTER %s is not supported: this server assigns slots to its shards by itself"
)
_MEMBERS_ARE_OURS = (
    b"ERR CLUSTER %s is not supported: the nodes of this cluster are the shards of one server"
)
REFUSED_SUBCOMMANDS = {
    b"CLUSTER|" + name: text % name
    for text, names in (
        (
            _SLOTS_ARE_OURS,
            b"ADDSLOTS ADDSLOTSRANGE DELSLOTS DELSLOTSRANGE FLUSHSLOTS SETSLOT",
        ),
        (
            _MEMBERS_ARE_OURS,
            b"BUMPEPOCH FAILOVER FORGET MEET REPLICATE RESET SAVECONFIG SET-CONFIG-EPOCH",
        ),
    )
    for name in names.split()
}
"""What Redis has and this server refuses, with the reason: subcommands that are not declared."""
