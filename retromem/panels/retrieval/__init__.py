"""What retrieval can hold: limits of the embedding, of codes, and the price of a change."""
