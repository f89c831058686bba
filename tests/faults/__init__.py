"""The fault campaign: every fault that can be made to happen, tried, and what it cost counted.

`make faults` runs it in full and prints a table; `make check` runs its short form. Each module
named in __main__.py is one family of faults: its rows() yields a Row for each fault.
"""
