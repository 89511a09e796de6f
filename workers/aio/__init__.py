"""Small asyncio tools: back-off, tasks that end for sure, a frozen garbage collector."""
