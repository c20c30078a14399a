"""The RESP session, sans-IO: what one connection knows, whatever carries its bytes."""
