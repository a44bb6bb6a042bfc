"""The verbs of the command ``madrnet``, one module a verb: its options, and what it does with them."""
