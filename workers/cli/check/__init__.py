"""`invites check`: the command, and what it looks at."""
