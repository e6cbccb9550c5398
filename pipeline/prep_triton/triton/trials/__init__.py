"""What `prep verify` asks of each entry, and what it expects: for models by ids, for ensembles by text."""
