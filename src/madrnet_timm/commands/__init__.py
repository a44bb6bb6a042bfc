"""The verbs of the command ``madrnet``, one module per verb: its options, and what it does with them."""
