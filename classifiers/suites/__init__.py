"""Sentences that we wrote to try a scorer with, and what the labels of public sets mean; YAML beside this file."""
