"""The two links between a worker and a shard, as both ends make them."""

from __future__ import annotations

import zmq

from actors.mailbox import DIRECT, PyzmqLink, ZmqLink
from actors.zmtp import ZmtpLink

SocketLink = ZmtpLink | ZmqLink | PyzmqLink


def open_links(
    context: zmq.Context[zmq.Socket[bytes]], path: str, *, bind: bool, io_threads: bool
) -> tuple[SocketLink, SocketLink]:
    """The main link at this ipc endpoint, and the bulk link beside it.

    With `io_threads`, the main one is libzmq's, too. The ends need not agree on it: both kinds put
    the same bytes on the socket. Large values are always libzmq's: it takes memory over from the
    sender and gives it to the receiver, and its threads write them while other commands run.
    """
    threaded = ZmqLink if DIRECT else PyzmqLink
    main = threaded(context, path, bind) if io_threads else ZmtpLink(path, bind)
    return main, threaded(context, path + ".bulk", bind)
