"""What a composition means before it runs: its parameter groups, its learning rate, its memory."""
