"""Groups of commands, one module each: `register(app)` adds them to the command line.

A command parses, calls one function and prints; what it does lives elsewhere. Modules here import nothing heavy
before a command runs.
"""
