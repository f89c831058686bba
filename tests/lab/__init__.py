"""The test laboratory: spools, mail servers on loopback and measuring tools, one per module.

Every server listens on a free port of 127.0.0.1, is a context manager, and cleans up behind it.
"""
