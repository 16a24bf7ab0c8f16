"""Which given labels are wrong: how sure, why, and how good the queue of them is."""
