"""Mail that other packages' tables still hold: which messages these are, and how they are made.

The packages themselves need not be installed, and their tables are only read. What a class of
sources.py says of a message is what its package would send.
"""
