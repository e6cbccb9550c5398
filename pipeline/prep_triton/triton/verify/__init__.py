"""What `prep verify` sends to each entry, and the answers that it expects."""
