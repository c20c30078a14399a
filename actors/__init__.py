"""Mailboxes, clocks, the shared page and the supervisor. Nothing here knows Redis."""
