"""The theory of what an FFN can hold: each formula beside what trained FFNs do."""
