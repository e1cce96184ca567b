"""What lands on disk: the output folder, array codecs, shards, and the ledger of what is done (step
7).
"""
