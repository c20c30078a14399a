"""Grammars of arguments that commands of several families share."""
