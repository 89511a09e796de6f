"""`python -m workers` is the command `invites`, even if nothing is installed."""

from workers.cli.app import main

if __name__ == "__main__":
    main()
