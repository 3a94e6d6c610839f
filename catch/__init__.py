"""Catch: the paper's dynamic task, learned from the final reward alone (Mnih et al. 2014, section 4.2)."""
