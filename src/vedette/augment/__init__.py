"""Sample to sample: geometric and colour changes, mosaic and mix-up.

Random choice is separate from operation: ``choose_*`` functions turn uniform numbers into frozen records, all
others are pure.
"""
