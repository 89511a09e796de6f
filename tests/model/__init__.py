"""An independent statement of the rules, and the histories that hold the scripts to it."""
