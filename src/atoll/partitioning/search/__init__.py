"""Costs of segments, as a function, and the devices there are → the best cuts, with a proven lower bound.

``fleet``            the devices and the goal, and the steps by which devices are handed out to segments
``edges``            tables over all segments: lower bounds, costs, and the best paths under them
``bounded_search``   the best path, from as few costs as it takes
``feasibility``      whether there is a path all of whose segments cost less than a limit
``contiguous``       the best cuts in execution order
``ideals``           the sets of operators that can lie before a cut, where a graph has branches
``convex``           the best cuts along branches, over such sets
``min_cut_bound``    what the slowest piece takes at least, however the graph is cut
"""
