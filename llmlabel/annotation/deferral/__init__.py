"""Which labels may stand without a look by people, and what is promised of them."""
