"""How each family of servers quotes: one module per dialect, and what they share."""
