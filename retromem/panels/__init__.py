"""Questions of theory and of limits, each answered by points measured beside a formula, a bound or a null.

A panel is two modules: `<name>.py`, its config and what its page says, free of torch; `<name>_points.py`, the
measurement.
"""
