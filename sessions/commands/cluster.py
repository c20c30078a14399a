"""CLUSTER and its kin, as far as a process can answer them from what it knows of the cluster.

At a shard's port they answer for that node; at the endpoint for the cluster, with the first node
as "myself", so that cluster-aware clients may begin there. READONLY, READWRITE and ASKING are
accepted in both places and change nothing: there are no replicas and no slots on their way, and
the endpoint redirects nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from protocol.commands import F, Place, command
from protocol.errors import CLUSTER_DISABLED, CommandError
from protocol.slots import key_slot

if TYPE_CHECKING:
    from protocol.reply import Reply
    from sessions.cluster import Cluster
    from sessions.session import Session

CLUSTER: Final[dict[str, Any]] = {"group": "cluster", "place": Place.SESSION}
CHANGING: Final[dict[str, Any]] = {"tips": ("nondeterministic_output",)}
CONNECTION: Final[dict[str, Any]] = {**CLUSTER, "acl": ("connection",)}
SHOWN_BYTES_MAX: Final = 128

HELP = (
    b"CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"COUNT-FAILURE-REPORTS <node-id>",
    b"    Show how many nodes report that this one has failed.",
    b"COUNTKEYSINSLOT <slot>",
    b"    Count the keys of a slot.",
    b"GETKEYSINSLOT <slot> <count>",
    b"    Show up to <count> keys of a slot.",
    b"INFO",
    b"    Show the state of the cluster.",
    b"KEYSLOT <key>",
    b"    Show the slot that a key belongs to.",
    b"LINKS",
    b"    Show the links between this node and the others.",
    b"MYID",
    b"    Show the id of this node.",
    b"MYSHARDID",
    b"    Show the id of the shard that this node is part of.",
    b"NODES",
    b"    Show all nodes, one a line:",
    b"    <id> <ip:port@bus-port[,hostname]> <flags> <master> <ping> <pong> <epoch> <link> <slot>",
    b"REPLICAS <node-id>",
    b"    Show the replicas of a node.",
    b"SHARDS",
    b"    Show the slots of each shard, and its nodes.",
    b"SLOTS",
    b"    Show each range of slots with the address, port and id of its nodes.",
    b"HELP",
    b"    Show this text.",
)


def cluster_of(session: Session) -> Cluster:
    """The cluster. Raises CommandError when cluster mode is off."""
    if session.cluster is None:
        raise CommandError(CLUSTER_DISABLED)
    return session.cluster


def node_of(cluster: Cluster, name: bytes) -> int:
    """The index of the node with this id. Raises CommandError."""
    if name not in cluster.by_id:
        raise CommandError(b"ERR Unknown node %s" % name.partition(b"\0")[0])
    return cluster.by_id[name]


@command("CLUSTER", arity=-2, **CLUSTER)
def cluster_(session: Session, args: list[bytes], reply: Reply) -> None:
    """Look at the cluster; see its subcommands."""
    raise CommandError(
        b"ERR unknown subcommand '%s'. Try CLUSTER HELP." % args[1][:SHOWN_BYTES_MAX]
    )


@command("CLUSTER|MYID", arity=2, flags=F.STALE, **CLUSTER)
def myid(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show the id of this node. O(1)."""
    cluster = cluster_of(session)
    reply.bulk(cluster.nodes[cluster.myself].id.encode())


@command(
    "CLUSTER|MYSHARDID",
    arity=2,
    flags=F.STALE,
    **CLUSTER,
    **CHANGING,
)
def myshardid(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show the id of the shard that this node is part of. O(1)."""
    cluster = cluster_of(session)
    reply.bulk(cluster.nodes[cluster.myself].shard_id.encode())


@command("CLUSTER|NODES", arity=2, flags=F.STALE, **CHANGING, **CLUSTER)
def nodes(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show all nodes with their addresses, states and slots. O(N) for N nodes."""
    text = cluster_of(session).describe_all(session, session.now_us // 1000)
    reply.verbatim(text, b"txt")


@command("CLUSTER|INFO", arity=2, flags=F.STALE, **CHANGING, **CLUSTER)
def info(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show the state of the cluster. O(N) for N nodes."""
    reply.verbatim(cluster_of(session).info(session.now_us // 1000), b"txt")


@command("CLUSTER|SLOTS", arity=2, flags=F.LOADING | F.STALE, **CHANGING, **CLUSTER)
def slots(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show each range of slots with the nodes that serve it. O(N) for N nodes."""
    cluster_of(session).write_slots(reply, session)


@command(
    "CLUSTER|SHARDS",
    arity=2,
    flags=F.LOADING | F.STALE,
    **CLUSTER,
    **CHANGING,
)
def shards(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show the slots of each shard, and its nodes. O(N) for N nodes."""
    cluster_of(session).write_shards(reply, session, session.now_us // 1000)


@command(
    "CLUSTER|LINKS",
    arity=2,
    flags=F.STALE,
    **CLUSTER,
    **CHANGING,
)
def links(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show the links of the cluster bus: none, as nodes of one server need none. O(1)."""
    cluster_of(session)
    reply.array(0)


@command("CLUSTER|KEYSLOT", arity=3, flags=F.STALE, **CLUSTER)
def keyslot(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show the slot that a key belongs to. O(N) for N bytes of the key."""
    cluster_of(session)
    reply.integer(key_slot(args[2]))


@command(
    "CLUSTER|COUNT-FAILURE-REPORTS",
    arity=3,
    flags=F.ADMIN | F.STALE,
    **CHANGING,
    **CLUSTER,
)
def count_failure_reports(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show how many nodes report a failure: none, as the router sees for itself. O(1)."""
    node_of(cluster_of(session), args[2])
    reply.integer(0)


@command(
    "CLUSTER|REPLICAS",
    arity=3,
    flags=F.ADMIN | F.STALE,
    **CLUSTER,
    **CHANGING,
)
@command("CLUSTER|SLAVES", arity=3, flags=F.ADMIN | F.STALE, **CHANGING, **CLUSTER)
def replicas(session: Session, args: list[bytes], reply: Reply) -> None:
    """Show the replicas of a node: there are none yet. O(1)."""
    node_of(cluster_of(session), args[2])
    reply.array(0)


@command(
    "CLUSTER|HELP",
    arity=2,
    flags=F.LOADING | F.STALE,
    **CLUSTER,
)
def help_(session: Session, args: list[bytes], reply: Reply) -> None:
    """List the subcommands of CLUSTER. O(1)."""
    cluster_of(session)
    reply.array(len(HELP))
    for line in HELP:
        reply.status(line)


@command("READONLY", arity=1, flags=F.FAST | F.LOADING | F.STALE, **CONNECTION)
def readonly(session: Session, args: list[bytes], reply: Reply) -> None:
    """Allow reads from a replica, of which there are none yet. O(1)."""
    cluster_of(session)
    reply.ok()


@command("READWRITE", arity=1, flags=F.FAST | F.LOADING | F.STALE, **CONNECTION)
def readwrite(session: Session, args: list[bytes], reply: Reply) -> None:
    """End what READONLY began. O(1)."""
    cluster_of(session)
    reply.ok()


@command("ASKING", arity=1, flags=F.FAST, **CONNECTION)
def asking(session: Session, args: list[bytes], reply: Reply) -> None:
    """Follow a redirection to a slot on its way, of which there are none yet. O(1)."""
    cluster_of(session)
    reply.ok()
