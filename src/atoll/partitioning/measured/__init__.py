"""A function that measures one segment → the best cuts as measured, from few measurements.

``store``             measurements that are never made twice, in a file too
``gaussian_process``  what measured segments tell about the others
``refine``            the search that starts from modelled costs and measures what it needs
``bisection``         the vendor's search, which knows no model
"""
