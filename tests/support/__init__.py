"""What tests share, a module for each thing that it helps with."""
