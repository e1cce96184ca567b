"""What is written to disk: the output folder, array codecs, shards, and the ledger."""
