"""Model folders: what timm reads and writes, with a card."""
