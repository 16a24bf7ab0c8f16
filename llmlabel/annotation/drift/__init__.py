"""Have the texts that came since an earlier run changed, and what is to be done about it?"""
