"""Many models on the same samples as one plan: shared work is done once, similar work is merged, cost is known beforehand.

The way of a model: `Program` > canonical `Template` and weights (templates, rewrites, folding) > multi-model `Graph` > branches and
stages > `Plan` (widths, order, chunks, predicted cost) > `PlanRunner`, a generator of events. Pure: no files, no Django.
"""
