"""Log lines: the vendor's templates, and the format of a line."""
