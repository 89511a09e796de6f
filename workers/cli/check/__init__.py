"""`invites check`: the command and its checks."""
