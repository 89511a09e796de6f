"""Small asyncio tools: back-off, tasks that end reliably, shorter garbage collection."""
