"""Several annotators, one distribution: the methods, how one is chosen, and how far annotators agree."""
