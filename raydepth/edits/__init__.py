"""Edits (step 6, first half): each turns a batch of frames into a stack of layers and says where
pixels may change.
"""
