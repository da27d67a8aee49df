"""`make bench`: figures as ratios against floors measured in the same run, in one table.

A part is a module here with `figures()`; its name chooses it (`make bench ARGS=start-up`).
Minima are compared, as another program on the machine only ever makes a run slower.
"""
