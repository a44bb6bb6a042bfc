"""What ``madrnet train`` is made of."""
