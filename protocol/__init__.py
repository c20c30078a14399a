"""RESP, replies, envelopes, slots, key positions and error texts: bytes in, values out, no I/O."""
