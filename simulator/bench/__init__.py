"""Real training on this machine, predicted from a probe of it alone, and both set beside each other."""
