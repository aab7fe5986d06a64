"""The command line: `unweave study`, `unweave collect`, `unweave report`, `unweave zoo`. Heavy imports happen inside
the commands.
"""
