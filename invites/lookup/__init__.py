"""What a script cannot know: sippo-server's answers, trunks that match a number, other shards."""
