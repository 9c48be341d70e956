"""Other people's libraries: as independent proof that the same weights decode the same, and as services to compare.

Each module needs its library; none is a dependency.
"""
