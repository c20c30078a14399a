"""What `ps` shows of each process: the router's title by a template, the others' by their role."""

from __future__ import annotations

import re
import sys
from typing import Any

from actors.process import set_name, set_title
from router.config import Config

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class TemplateError(ValueError):
    """A template is not well-formed, or has an unknown variable, or comes out empty."""


def listen_address(config: Config) -> str:
    """The first address the server listens on, as titles show it."""
    tls_port = config.values.get("tls-port", 0)
    if not config["port"] and not tls_port:
        return f"unixsocket:{config['unixsocket']}"
    first = (config["bind"].split() or ["*"])[0]
    return f"{first}:{config['port'] or tls_port}"


def expand(template: str, config: Config, title: str) -> str:
    """The title that a template makes. Raises TemplateError.

    "{{" stands for a brace, as in Redis.
    """
    cluster = config.values.get("cluster-enabled", False)
    variables: dict[str, Any] = {
        "title": title,
        "listen-addr": listen_address(config),
        "server-mode": "[cluster]" if cluster else "",
        "config-file": config.file or "-",
        "port": config["port"],
        "tls-port": config.values.get("tls-port", 0),
        "unixsocket": config["unixsocket"],
    }
    parts: list[str] = []
    at = 0
    while at < len(template):
        if template.startswith("{{", at):
            parts.append("{")
            at += 2
        elif template[at] == "{":
            found = PLACEHOLDER.match(template, at)
            if found is None or found[1] not in variables:
                raise TemplateError(template)
            parts.append(str(variables[found[1]]))
            at = found.end()
        else:
            parts.append(template[at])
            at += 1
    result = "".join(parts).strip(" ")
    if not result:
        raise TemplateError(template)
    return result


def name_router(config: Config, template: str) -> None:
    """Give the router its title. Raises TemplateError."""
    title = expand(template, config, sys.argv[0])
    set_name(b"shardis-server")
    if config["set-proc-title"]:
        set_title(title.encode("utf-8", "surrogateescape"))


def child_title(config: Config, role: str, index: int) -> bytes:
    """The title of a worker or shard; b"" to leave it as it is."""
    if not config["set-proc-title"]:
        return b""
    address = listen_address(config)
    return f"{sys.argv[0]}: {role} {index} {address}".encode("utf-8", "surrogateescape")
