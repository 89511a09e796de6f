"""An independent statement of the rules, and the histories that compare the scripts with it."""
