"""`python -m workers` is the command `invites`, also where nothing is installed."""

from workers.cli.main import main

if __name__ == "__main__":
    main()
