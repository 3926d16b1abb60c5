"""Networks: from tokens to the logits of the next ones."""
