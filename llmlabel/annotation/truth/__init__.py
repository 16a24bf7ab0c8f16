"""What can be said of the whole: quality, shares, replaceability, and what the taxonomy misses."""
