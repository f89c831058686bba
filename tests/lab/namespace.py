"""Shell commands in a mount namespace of their own, for root: what they mount ends with them."""

from __future__ import annotations

from typing import List

# In a chroot / is no mount, and can't be made one; whoever made that has seen to the rest.
_PRIVATE = "mount --make-rprivate / 2>/dev/null || :\n"


def private(script: str, *arguments: object, options: str = "-ec", pids: bool = False) -> List[str]:
    """The command line of a shell that runs SCRIPT there, with ARGUMENTS as $1 and so on; with PIDS
    its children end with it."""
    kind = ["--pid", "--fork", "--kill-child"] if pids else []
    shell = ["sh", options, _PRIVATE + script, "sh", *map(str, arguments)]
    return ["unshare", "--mount", "--propagation", "unchanged", *kind, *shell]
