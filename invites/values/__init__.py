"""Small values that every other package uses: validation sentences, secrets, printable text."""
