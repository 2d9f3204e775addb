"""What goes on inside decoders that were trained to write facts: depth, layers, hidden units."""
