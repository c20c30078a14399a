"""The operator's command line: a client of the server's public ports."""
