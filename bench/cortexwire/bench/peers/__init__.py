"""Other people's libraries as independent proof: the same weights in them must decode the same.

Each module needs its library; none is a dependency.
"""
