"""How far a converted graph is from its parent, and how well it does on labelled data."""
