"""Published numbers, measured again: each panel is one setting, its published number and the band that counts as it."""
