"""What Python handlers see of a collection: one view a type, opened by `open(ctx, key)`.

A view names a key, and looks it up again in each call: it holds no native pointer that a change
could move. A key that is missing is an empty collection; it comes into being with its first
element, and goes with its last one.
"""
