"""The page with the phones, in a real browser."""
